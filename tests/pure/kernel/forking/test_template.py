"""A process that is forked for others: whose children they are, and what they have."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading

import pytest

from penstock.process.command_line import ROOM
from penstock.process.forking import template
from penstock.process.lifetime import adopt_orphans, set_process_option

pytestmark = pytest.mark.skipif(not template.available(), reason="for Linux")

SERVES = """
import json, os, random, socket, sys, threading
from penstock.process.forking import template
from penstock.process.command_line import show
{before}
order = template.serve(socket.socket(fileno=int(sys.argv[1])))
show(order.words)
told = {{
    "parent": os.getppid(),
    "session": os.getsid(0),
    "words": open("/proc/self/cmdline").read().rstrip("\\0").split("\\0"),
    "environment": dict(os.environ),
    "random": random.random(),
}}
os.write(int(os.environ["RESULT"]), json.dumps(told).encode())
os.write(1, b"said, ")
os.write(2, b"complained")
sys.exit(7)
"""
THREAD = "threading.Thread(target=threading.Event().wait, name='helper', daemon=True).start()"
SUBREAPER = 36


@pytest.fixture
def _adopting():
    adopt_orphans()
    yield
    set_process_option(SUBREAPER, 0)


@pytest.fixture
def serving(_adopting):
    """Starts templates: ``serving(before="...")`` gives the channel and the process."""
    with contextlib.ExitStack() as stack:

        def start(before=""):
            own, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            stack.enter_context(own)
            with theirs:
                number = theirs.fileno()
                program = SERVES.format(before=before)
                process = subprocess.Popen(
                    [sys.executable, "-c", program, str(number), ROOM], pass_fds=(number,)
                )
            stack.callback(process.wait)
            stack.callback(process.kill)
            return own, process

        yield start


def answer_to(channel, words=("a", "b"), environment=(), descriptors=(), output=None):
    """Where the answer comes, and the answer."""
    answers = template.ask(channel, words, dict(environment), dict(descriptors), output)
    answers.settimeout(60)
    return answers, answers.recv(template.MOST_ANSWER)


def born(channel, *, words=("a", "b"), output=None, **environment):
    """A child's life: its number, what it told, and its exit status."""
    reading, writing = os.pipe()
    try:
        answers, answer = answer_to(channel, words, environment, {"RESULT": writing}, output)
    finally:
        os.close(writing)
    with answers, os.fdopen(reading) as result:
        pid = template.number_in(answer)
        answers.send(template.GO)
        told = json.load(result)
    return pid, told, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_child_is_the_askers_own(serving):
    channel, _ = serving()

    pid, told, status = born(channel, words=("python", "-m", "x"), GREETING="hello")

    assert status == 7
    assert told["parent"] == os.getpid()
    assert told["session"] == pid
    assert told["words"] == ["python", "-m", "x"]
    assert told["environment"].keys() - {"LC_CTYPE"} == {"GREETING", "RESULT"}


def test_a_child_writes_where_it_was_told_to(serving, tmp_path):
    channel, _ = serving()

    with (tmp_path / "output").open("wb") as output:
        _, told, status = born(channel, output=output.fileno())

    assert status == 7
    assert told["environment"].keys() - {"LC_CTYPE"} == {"RESULT"}
    assert (tmp_path / "output").read_bytes() == b"said, complained"


def test_children_are_not_alike(serving):
    channel, _ = serving(before="random.seed(1)")

    first, second = born(channel), born(channel)

    assert first[0] != second[0]
    assert first[1]["random"] != second[1]["random"]


def test_a_child_that_nobody_wants_any_more_ends(serving):
    channel, _ = serving()
    answers, answer = answer_to(channel, environment={"RESULT": "1"})
    answers.close()

    _, status = os.waitpid(template.number_in(answer), 0)

    assert os.waitstatus_to_exitcode(status) == 1


def test_a_template_with_other_threads_is_not_forked(serving):
    channel, process = serving(before=THREAD)
    answers, answer = answer_to(channel)

    with answers, pytest.raises(template.Unfit, match="1 other thread"):
        template.number_in(answer)
    assert process.poll() is None


def test_a_template_that_dies_is_noticed(serving):
    channel, process = serving(before="threading.Event().wait()")
    timer = threading.Timer(0.2, process.kill)
    timer.start()

    answers, answer = answer_to(channel)

    with answers, pytest.raises(template.NotForked, match="ended"):
        template.number_in(answer)
    timer.join()


def test_a_template_ends_with_who_asks(serving):
    channel, process = serving()
    born(channel)
    channel.close()

    assert process.wait(60) == 0
