"""Each program and command of docs/first-model.md does what the page says."""

import ast
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from support.clients.load import eventually
from support.processes.cluster import Cluster
from support.processes.commands import invoke

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "first-model.md").read_text()
URL = "127.0.0.1:8001"
PROGRAMS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = re.findall(r"^\$ (penstock .*)$", PAGE, re.MULTILINE)
MODELS = ["flowers", "scores", "layers", "encoder"]
MAKING = dict(zip(MODELS, PROGRAMS, strict=False))
CALLING = PROGRAMS[len(MODELS) :]

# Whichever comes first waits until all models are made.
pytestmark = pytest.mark.timeout(400)


def missing(program):
    """The packages that *program* imports and that are not installed."""
    names = []
    for node in ast.walk(ast.parse(program)):
        names += [one.name for one in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) else []
    names += ["onnxscript"] if "torch.onnx" in program else []
    return [name for name in names if find_spec(name.partition(".")[0]) is None]


def run(words, folder, **environment):
    done = subprocess.run(
        words,
        cwd=folder,
        env=os.environ | {"COLUMNS": "80"} | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Where the page's programs have written their models."""
    folder = tmp_path_factory.mktemp("page")
    for program in MAKING.values():
        if not missing(program):
            run([sys.executable, "-W", "ignore", "-c", program], folder)
    return folder


@pytest.fixture(scope="module")
def url(made, tmp_path_factory):
    with Cluster(tmp_path_factory.mktemp("run"), made / "models").running() as cluster:
        yield cluster.url


def test_the_page_has_a_program_for_each_model():
    assert [f"models/{name}/1/" in program for name, program in MAKING.items()] == 4 * [True]
    assert [URL in program for program in CALLING] == [True]
    assert {command.split()[1] for command in COMMANDS} == {"check", "infer", "status"}


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
async def test_each_model_is_served_and_batched(url, name):
    packages = missing(MAKING[name])
    if packages:
        pytest.skip(f"not installed: {', '.join(packages)}")

    def state():
        return invoke("models", "ls", "--url", url, "--json").stdout

    await eventually(lambda: '"state": "READY"' in state())
    batching = re.findall(rf'"name": "{name}".*?"batching": "(.*?)"', state(), re.DOTALL)
    assert [text.startswith("batches up to") for text in batching] == [True], batching


@pytest.mark.slow
@pytest.mark.skipif("skl2onnx" in missing(PROGRAMS[0]), reason="not installed: skl2onnx")
@pytest.mark.parametrize("program", CALLING)
def test_what_calls_it_has_an_answer(url, made, program):
    output = run([sys.executable, "-c", program.replace(URL, url)], made)

    assert re.match(r"\[0\] \[\[[01]\.", output)


@pytest.mark.slow
@pytest.mark.skipif("skl2onnx" in missing(PROGRAMS[0]), reason="not installed: skl2onnx")
@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_works(url, made, command):
    name, *words = command.split()

    assert run([sys.executable, "-P", "-m", name, *words], made, PENSTOCK_URL=url)


def test_every_link_leads_somewhere():
    links = re.findall(r"\]\(([^)#]+)\)", PAGE)

    assert links
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []
