"""The README's calls with a key over TLS: by a stub, by each client, by curl and by the command."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.authority import Authority
from support.processes.cluster import Cluster

ROOT = Path(__file__).parents[3]
SECTION = (ROOT / "README.md").read_text().partition("### With a key, over TLS")[2]
COMMANDS = re.search(r"^```sh\n(.*?)^```$", SECTION, re.MULTILINE | re.DOTALL)[1]
PROGRAM = re.search(r"^```py\n(.*?)^```$", SECTION, re.MULTILINE | re.DOTALL)[1]
MADE, INFER, CURL = COMMANDS.replace("\\\n", " ").splitlines()
CLIENTS = 4


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Where the commands run: what they name is there."""
    folder = tmp_path_factory.mktemp("readme-tls")
    (folder / "examples").symlink_to(ROOT / "examples")
    return folder


@pytest.fixture(scope="module")
def secured(place):
    authority = Authority(place)
    server = authority.server()
    one = Cluster(
        place / "cluster",
        ROOT / "examples/digits/models",
        *("--auth", "keys", "--http", "--http-port", "0"),
        *("--tls-cert", str(server.certificate), "--tls-key", str(server.key)),
    )
    with one.running():
        yield one


@pytest.fixture(scope="module")
def here(secured):
    """Puts what this cluster has in the place of what the README says."""
    at = {
        "localhost:8001": f"localhost:{secured.url.rsplit(':', 1)[1]}",
        "localhost:8000": f"localhost:{secured.http_url().rsplit(':', 1)[1]}",
        "unix://...": re.search(r"PENSTOCK_REDIS=(\S+) penstock keys create", secured.output())[1],
    }

    def here(text):
        for said, found in at.items():
            text = text.replace(said, found)
        return text

    return here


@pytest.fixture(scope="module")
def run(place, here):
    """Runs a command as the README has it."""
    bin_ = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{bin_}{os.pathsep}{os.environ['PATH']}"}

    def run(words):
        done = subprocess.run(
            ["bash", "-c", here(words)],
            cwd=place,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    # One line of the page sets it for all that follow.
    environment["PENSTOCK_TOKEN"] = run(f"{MADE}; printf %s $PENSTOCK_TOKEN")
    return run


def test_the_command_has_its_answer(run):
    assert "probabilities" in run(INFER)


def test_curl_has_its_answer(run):
    outputs = {one["name"]: one["data"] for one in json.loads(run(CURL))["outputs"]}

    assert outputs["digit"] == [7]


def test_each_client_prints_ten_probabilities(run, place, here):
    (place / "program.py").write_text(here(PROGRAM))

    printed = run("python program.py")

    assert len(re.findall(r"\d+\.\d*", printed)) == 10 * CLIENTS


def test_without_a_key_nobody_is_answered(run):
    refused = run(CURL.replace('-H "authorization: Bearer $PENSTOCK_TOKEN"', "-w '%{http_code}'"))

    assert refused.endswith("401")
