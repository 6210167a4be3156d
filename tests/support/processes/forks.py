"""``penstock`` as a process of its own, forked from one that has imported what its roles need.

As a program each would import the same for a second of processor time, hundreds of times in all
tests. How a child is forked, becomes this process's, and has what a program would have, is the
product's own (`penstock.process.forking.template`). It stays a program wherever its surroundings
are not those in which this process began, and for tests of the start itself (`as_programs`).
"""

import atexit
import contextlib
import ctypes
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from penstock.process.child_process import python_command
from penstock.process.command_line import ROOM, show
from penstock.process.forking import template
from penstock.process.forking.launch import NOTHING
from penstock.process.lifetime import set_process_option

BIRTH_S, COMMAND_S = 60.0, 110.0
OWN = ("PENSTOCK_", "PYTEST_", "TORCHINDUCTOR_")
"""Variables that nothing reads while it is imported: a child has its own."""

BY_LIBRARIES = {
    "ORT_DISABLE_TELEMETRY": "1",
    "GRPC_VERBOSITY": "ERROR",
    "KMP_DUPLICATE_LIB_OK": "True",
    "KMP_INIT_AT_FORK": "FALSE",
}
"""Set for good in this process by commands that are tried in it, and by whoever imports sklearn.

Roles set the former by themselves, and have nothing of the latter.
"""

_PR_SET_CHILD_SUBREAPER, _PR_GET_CHILD_SUBREAPER = 36, 37
_FOLDER, _ENVIRONMENT = Path.cwd(), dict(os.environ)
_TESTS = Path(__file__).parents[2]
_PROGRAM = Path(__file__).with_name("penstock_template.py")
_looking, _starting = threading.Lock(), threading.Lock()


class Forked:
    """A child of this process that was forked from a template: as `subprocess.Popen`."""

    def __init__(self, args, pid):
        self.args, self.pid, self.returncode = args, pid, None
        self._reaping = threading.Lock()

    def __repr__(self):
        return f"Forked({self.args[4:]}, pid {self.pid}, {self.returncode})"

    def poll(self):
        with self._reaping:
            if self.returncode is None:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                if pid:
                    self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout=None):
        if self.poll() is None:
            self._wait_for_end(timeout)
        if self.poll() is None:
            raise subprocess.TimeoutExpired(self.args, timeout)
        return self.returncode

    def send_signal(self, number):
        # Until it is reaped, nobody else can have its number.
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self):
        self.send_signal(signal.SIGTERM)

    def kill(self):
        self.send_signal(signal.SIGKILL)

    def _wait_for_end(self, timeout):
        # Another thread may have reaped it meanwhile.
        with contextlib.suppress(ProcessLookupError):
            descriptor = os.pidfd_open(self.pid)
            try:
                ended = select.poll()
                ended.register(descriptor, select.POLLIN)
                ended.poll(None if timeout is None else 1000 * timeout)
            finally:
                os.close(descriptor)


class Template:
    """A process that is forked, with the surroundings in which this one began."""

    def __init__(self, command, **variables):
        """*command* imports what its children need, and then calls `template.serve`."""
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        number = theirs.fileno()
        with theirs:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                process_group=0,
                cwd=_FOLDER,
                env={**_ENVIRONMENT, **variables, template.CHANNEL: str(number)},
                pass_fds=(number,),
            )

    @classmethod
    def of(cls, program):
        """Of a Python *program* of tests, which calls `be_forked`."""
        path = os.pathsep.join(filter(None, [str(_TESTS), _ENVIRONMENT.get("PYTHONPATH")]))
        return cls([sys.executable, str(program), ROOM], PYTHONPATH=path)

    @property
    def lives(self):
        return self._process.poll() is None

    def fork(self, words, environment, output, descriptors=NOTHING):
        """A child that is as if *words* had been started, and writes to the descriptor *output*.

        Args:
            descriptors: what it inherits, by the variable that tells it the number.
        """
        with _starting, _adopting():
            answers = template.ask(self._channel, words, environment, descriptors, output)
            with answers:
                answers.settimeout(BIRTH_S)
                pid = template.number_in(answers.recv(template.MOST_ANSWER))
                answers.send(template.GO)
                return Forked(words, pid)

    def close(self):
        """End it; its children live on."""
        self._channel.close()
        self._process.wait()


def be_forked():
    """Be forked for each child of a program of tests; in each, its words but the program."""
    channel = socket.socket(fileno=int(os.environ.pop(template.CHANNEL)))
    order = template.serve(channel)
    show(order.words)
    return order.words[2:]


class _State:
    template = None
    only_programs = False


@contextlib.contextmanager
def as_programs():
    """What is started meanwhile is a Python of its own, as when a person starts it."""
    before, _State.only_programs = _State.only_programs, True
    try:
        yield
    finally:
        _State.only_programs = before


def start(*words, output, environment=None, within=()):
    """Start ``penstock`` *words* in a session of its own, or *within* a command.

    Args:
        output: the file that it writes to, errors as well.
        environment: what it has besides the variables of this process.
    """
    command = python_command("penstock", *words)
    variables = {**os.environ, **(environment or {})}
    if within or not _may_fork(variables):
        return subprocess.Popen(
            [*within, *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            process_group=0,
            env=variables,
        )
    return _running().fork(command, variables, output.fileno())


def ended(*words, **environment):
    """``penstock`` *words* once it has ended: its exit status, and all that it has written."""
    with tempfile.TemporaryFile() as output:
        process = start(*words, output=output, environment=environment)
        try:
            process.wait(COMMAND_S)
        finally:
            process.kill()
            process.wait()
        output.seek(0)
        return process.returncode, output.read().decode()


def _may_fork(variables):
    """Whether a child of the template has what a program would have."""
    if _State.only_programs or not template.available() or Path.cwd() != _FOLDER:
        return False
    return _read_by_others(variables) == _read_by_others(_ENVIRONMENT)


def _read_by_others(variables):
    return {
        name: value
        for name, value in variables.items()
        if not name.startswith(OWN) and BY_LIBRARIES.get(name) != value
    }


def _running():
    with _looking:
        if _State.template is None:
            atexit.register(_end)
        if _State.template is None or not _State.template.lives:
            command = [sys.executable, "-P", str(_PROGRAM), ROOM]
            _State.template = Template(command, OPENBLAS_NUM_THREADS="1")
        return _State.template


def _end():
    _State.template.close()


@contextlib.contextmanager
def _adopting():
    """Take the children of descendants that end, and only meanwhile: others would stay for ever."""
    before = ctypes.c_int()
    ctypes.CDLL(None).prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(before), 0, 0, 0)
    set_process_option(_PR_SET_CHILD_SUBREAPER, 1)
    try:
        yield
    finally:
        set_process_option(_PR_SET_CHILD_SUBREAPER, before.value)
