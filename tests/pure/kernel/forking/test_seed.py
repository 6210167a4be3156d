"""Whoever closes a seed, or kills what it has started, sees the end of all of it."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from penstock.process.forking import template
from penstock.process.forking.templates import Seed, Templates
from penstock.process.lifetime import children_of, kill_descendants

pytestmark = pytest.mark.skipif(not template.available(), reason="for Linux")

ENDS = "import socket, sys; socket.socket(fileno=int(sys.argv[1])).recv(1)"
STAYS = "import signal, sys; signal.pause()"
FAMILY = """
import os, signal, sys
for _ in range(4):
    if not os.fork():
        # The more it holds, the longer the kernel takes it apart.
        held = b"x" * (48 << 20)
        os.write(1, b'.')
        signal.pause()
signal.pause()
"""


@pytest.fixture
def seed_of():
    """A seed: a program that is given the number of its end of the channel."""
    started = []

    def start(program):
        own, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-c", program, str(theirs.fileno())]
            started.append(subprocess.Popen(command, pass_fds=(theirs.fileno(),)))
        return Seed(own, started[-1].pid)

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.parametrize("program", [ENDS, STAYS], ids=["ends", "stays"])
async def test_a_seed_that_is_closed_has_ended(seed_of, program):
    seed = seed_of(program)
    pid = seed.pid

    async with Templates(seed) as templates:
        assert list(templates.pids) == [pid]

    assert seed.pid is None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    await seed.close()


async def test_a_seed_that_is_gone_is_taken_away_before_a_program_stands_in(seed_of):
    seed = seed_of("")
    pid = seed.pid

    process = await seed.launch([sys.executable, "-c", ""], os.environ)

    assert await process.wait() == 0
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_what_is_killed_below_a_process_has_ended():
    with subprocess.Popen([sys.executable, "-c", FAMILY], stdout=subprocess.PIPE) as parent:
        try:
            born = parent.stdout.read(4)
            family = children_of(parent.pid)
            kill_descendants(parent.pid)
            states = [_state_of(pid) for pid in family]
        finally:
            parent.kill()

    assert born == b"...."
    assert states == ["Z"] * 4


def _state_of(pid):
    """As the kernel has it: R, S, Z ...; nobody has waited for it."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
