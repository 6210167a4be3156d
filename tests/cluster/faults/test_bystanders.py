"""What lies in the working directory is not run, and what is secret is not shown."""

from pathlib import Path

import psutil
import pytest
from support.processes.canaries import PASSWORD, PLANTED
from support.processes.cluster import Cluster
from support.processes.stores import valkey

RULE = f"{PLANTED}marlin-and-trout"
NAMES = ("random", "types", "asyncio", "grpc", "json", "structlog", "redis", "penstock")


@pytest.fixture(scope="module")
def surroundings(tmp_path_factory):
    """A directory of modules with well-known names, each of which would leave a file."""
    folder = tmp_path_factory.mktemp("surroundings")
    for name in NAMES:
        text = f"open({str(folder / name)!r} + '.ran', 'w').close()\nraise ImportError('astray')\n"
        (folder / f"{name}.py").write_text(text)
    return folder


@pytest.fixture(scope="module")
def running(tmp_path_factory, surroundings):
    """A cluster started there, on a store with a password, with two gateways and a rule."""
    models = Path(__file__).parents[3] / "examples" / "digits" / "models"
    with valkey() as store, pytest.MonkeyPatch.context() as patch:
        assert store.command(f"CONFIG SET requirepass {PASSWORD}") == b"+OK"
        patch.chdir(surroundings)
        one = Cluster(
            tmp_path_factory.mktemp("bystanders"),
            models,
            *("--redis", f"unix://:{PASSWORD}@{store.socket}", "--log-level", "debug"),
            *("--processes", "2"),
            environment={"PENSTOCK_GRPC_RESTRICTED_PROTOCOL": f"trace:admin={RULE}"},
        )
        with one.running():
            yield one


def test_nothing_in_the_working_directory_is_run(running, surroundings):
    assert running.processes()["worker"]
    assert sorted(surroundings.glob("*.ran")) == []


def test_secrets_are_in_no_command_line(running):
    family = [psutil.Process(running.pid), *psutil.Process(running.pid).children(recursive=True)]
    shown = {process.pid: process.cmdline() for process in family}

    assert len(shown) >= 7
    assert [words for words in shown.values() if PASSWORD in str(words) or RULE in str(words)] == []


def test_secrets_are_in_no_log(running):
    assert running.output()
    assert PASSWORD not in running.output()
    assert RULE not in running.output()
