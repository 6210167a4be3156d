"""Processes of tests that are forked are what programs would be, as far as tests can see."""

import os
import subprocess

import psutil
import pytest
from support.models.onnx_models import write_identity
from support.processes.canaries import PASSWORD
from support.processes.forks import BY_LIBRARIES, Forked, as_programs, start
from support.waiting import until


@pytest.fixture
def started(tmp_path):
    """Starts ``penstock``; the process, and what it writes."""
    processes = []

    def begin(*words, **surroundings):
        file = tmp_path / str(len(processes))
        with file.open("wb") as output:
            processes.append(start(*words, output=output, **surroundings))
        return processes[-1], file

    yield begin
    for process in processes:
        process.kill()
        process.wait()


async def test_a_forked_cluster_forks_its_roles_as_it_was_born(cluster, tmp_path):
    write_identity(tmp_path / "models", "m", "FP32", batch=False)

    running = cluster(tmp_path / "models")

    up = psutil.Process(running.pid)
    assert isinstance(running.process, Forked)
    assert (up.ppid(), os.getsid(up.pid)) == (os.getpid(), up.pid)
    assert up.cmdline()[1:5] == ["-P", "-m", "penstock", "up"]
    words = [child.cmdline()[4:6] for child in up.children()]
    kinds = {kind for command, kind in words if command == "template"}
    assert kinds == {"seed", "roles"}
    assert "started as programs" not in running.output()


def test_it_is_forked_whatever_libraries_set_in_this_process(monkeypatch, started):
    for name, value in BY_LIBRARIES.items():
        monkeypatch.setenv(name, value)
    # As torch.compile does, wherever the user's own folder for it is.
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/tmp/torchinductor")  # noqa: S108
    forked, _ = started("scheduler", "--models", "/none", "--redis", "redis://x:0")

    assert isinstance(forked, Forked)


def test_a_forked_process_writes_and_ends_as_a_program(started):
    forked, ours = started("scheduler", "--models", "/none", "--redis", "redis://x:0")
    with as_programs():
        program, theirs = started("scheduler", "--models", "/none", "--redis", "redis://x:0")

    assert isinstance(program, subprocess.Popen)
    assert (forked.wait(60), ours.read_text()) == (program.wait(60), theirs.read_text())
    assert forked.returncode == 1
    assert "penstock: " in ours.read_text()


async def test_a_forked_process_shows_no_secret(started):
    url = f"redis://:{PASSWORD}@127.0.0.1:1"
    forked, _ = started("gateway", "--port", "0", "--redis", url)
    hidden = url.replace(PASSWORD, "*" * len(PASSWORD))

    def shown():
        return [word for word in psutil.Process(forked.pid).cmdline() if word]

    await until(lambda: shown()[4:] == ["gateway", "--port", "0", "--redis", hidden], 60)

    forked.kill()
    assert forked.wait(60) == -9


@pytest.mark.parametrize("name", ["PYTHONPATH", "GRPC_VERBOSITY", "LD_PRELOAD"])
def test_what_is_read_as_a_program_begins_makes_it_one(started, name):
    process, _ = started("--version", environment={name: ""})

    assert isinstance(process, subprocess.Popen)
    assert process.wait(60) == 0


def test_a_folder_of_its_own_makes_a_program(started, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    process, _ = started("--version")

    assert isinstance(process, subprocess.Popen)
