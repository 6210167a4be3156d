"""The README's commands and programs do what it says."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text()
# Make targets install or run everything; `up` runs for ever. Other tests run what they run.
ELSEWHERE = ("make ", "pip ", "penstock up ", "curl ")


def _blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


COMMANDS = [
    line.removeprefix("$ ")
    for block in _blocks("console")
    for line in block.splitlines()
    if line.startswith("$ ") and not line.removeprefix("$ ").startswith(ELSEWHERE)
]


CURLS = [
    line.removeprefix("$ ")
    for block in _blocks("console")
    for line in block.splitlines()
    if line.startswith("$ curl ")
]


def _run(words, url):
    environment = os.environ | {"PENSTOCK_URL": url, "COLUMNS": "80"}
    done = subprocess.run(
        words,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_there_are_commands_to_run():
    assert {command.split()[1] for command in COMMANDS} == {
        *("status", "infer", "bench", "check", "shard"),
    }


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_works(command, digits_cluster):
    name, *words = command.split()

    output = _run([sys.executable, "-m", name, *words], digits_cluster.url)

    assert output
    assert max(map(len, output.splitlines())) <= 80


@pytest.mark.parametrize("program", _blocks("python"), ids=["penstock", "triton", "http", "stubs"])
def test_each_program_prints_ten_probabilities(program, digits_cluster):
    assert program.count("127.0.0.1:800") == 1
    program = program.replace("127.0.0.1:8001", digits_cluster.url)
    program = program.replace("127.0.0.1:8000", digits_cluster.http_url())

    output = _run([sys.executable, "-c", program], digits_cluster.url)

    numbers = [float(number) for number in re.findall(r"\d+\.\d*", output)]
    assert len(numbers) == 10
    assert sum(numbers) == pytest.approx(1, abs=0.06)


@pytest.mark.parametrize("command", CURLS)
def test_each_call_of_curl_is_answered(command, digits_cluster):
    if shutil.which("curl") is None and os.environ.get("CI") != "true":
        pytest.skip("curl is not installed")
    words = command.replace("127.0.0.1:8000", digits_cluster.http_url()).split()

    answer = json.loads(_run([*words, "--fail-with-body"], digits_cluster.url))

    if "infer" in command:
        (digit,) = [one["data"] for one in answer["outputs"] if one["name"] == "digit"]
        assert digit == [7]
    else:
        assert answer["name"] == "digits"


def test_every_link_leads_somewhere():
    links = re.findall(r"\]\(([^)#]+)\)", README)

    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text()
    targets = {line.split()[2] for line in README.splitlines() if line.startswith("$ make ")}

    assert targets == {"demo", "test"}
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)
