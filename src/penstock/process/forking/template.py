"""A template: a process that has imported what others need, and is forked for each of them.

Whoever asks for a child gets one that has all of that already, and shares its memory for as long
as neither writes to it. The child is not the template's but the asker's, as if that had started it:
a process in between forks it and ends, and the asker adopts orphans (`lifetime.adopt_orphans`). So
the asker sees its exit status, and the template may die.

What a fork does not copy must not be there: the template has one thread, and opens no loop,
connection or session.
"""

import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from penstock.process.lifetime import end_process

GO: Final = b"g"
"""What tells a child that it is known, and may begin."""

CHANNEL: Final = "PENSTOCK_TEMPLATE_FD"
"""Tells a template the number of its end of the channel."""

MOST_ANSWER: Final = 1024
"""Bytes of the longest answer."""

_ORDER: Final = b"o"
_NUMBER: Final = b"pid "
_MOST_DESCRIPTORS: Final = 8
_LOOK_S: Final = 0.001
_TASKS: Final = Path("/proc/self/task")


class Order(NamedTuple):
    """What a child shall be.

    Attributes:
        words: its command line.
        environment: its own, in place of the template's.
    """

    words: list[str]
    environment: dict[str, str]


class NotForked(Exception):
    """There is no child; the text says why."""


class Unfit(NotForked):
    """The template must not be forked: what it has would not be right in a child."""


def available() -> bool:
    """Whether this system has what templates need."""
    return sys.platform == "linux" and hasattr(os, "pidfd_open") and hasattr(os, "memfd_create")


def ask(
    channel: socket.socket,
    words: Sequence[str],
    environment: Mapping[str, str],
    descriptors: Mapping[str, int],
    output: int | None = None,
) -> socket.socket:
    """Order a child from the template at the other end of *channel*; where it answers.

    To be closed if the child is no longer wanted: until it is told to go on, it ends then.

    Args:
        descriptors: what it inherits, by the variable that tells it the number.
        output: where it writes to, errors as well; None: where the template does.

    Raises:
        OSError: the template is gone, or there is no more of something.
    """
    answers, theirs = socket.socketpair()
    order = os.memfd_create("order")
    try:
        outputs = [] if output is None else [output]
        text = json.dumps([list(words), dict(environment), list(descriptors), len(outputs)])
        with os.fdopen(os.dup(order), "wb") as file:
            file.write(text.encode())
        socket.send_fds(
            channel, [_ORDER], [order, theirs.fileno(), *outputs, *descriptors.values()]
        )
    except BaseException:
        answers.close()
        raise
    finally:
        os.close(order)
        theirs.close()
    answers.setblocking(False)
    return answers


def number_in(answer: bytes) -> int:
    """The child's number, from what came back.

    Raises:
        NotForked, Unfit: there is no child.
    """
    if not answer:
        raise NotForked("the template has ended")
    if not answer.startswith(_NUMBER):
        raise Unfit(answer.decode(errors="replace"))
    return int(answer.removeprefix(_NUMBER))


def serve(channel: socket.socket) -> Order:
    """Fork a child for each order that comes over *channel*.

    Returns in each child, with its order. The template itself never returns: it ends when the
    other end of *channel* is closed.
    """
    while True:
        message, received, _, _ = socket.recv_fds(
            channel, len(_ORDER), _MOST_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
        )
        if not message:
            end_process()
        order, answers, *inherited = received
        try:
            born = _fork(answers)
            if born:
                channel.close()
                return _taken_over(order, answers, inherited)
        finally:
            for descriptor in received:
                with contextlib.suppress(OSError):
                    os.close(descriptor)


def other_threads() -> str:
    """The threads of this process but for this one, in words; empty if there are none."""
    others = len(list(_TASKS.iterdir())) - 1
    if not others:
        return ""
    names = sorted((task / "comm").read_text().strip() for task in _TASKS.iterdir())
    return f"{others} other thread(s): {', '.join(names)}"


def _fork(answers: int) -> bool:
    """Whether this is the child; the process in between ends here."""
    if others := other_threads():
        os.write(answers, f"it has {others}".encode()[:MOST_ANSWER])
        return False
    between = os.fork()
    if between:
        os.waitpid(between, 0)
        return False
    own = os.getpid()
    try:
        child = os.fork()
    except OSError:
        os._exit(1)
    if child:
        os._exit(0)
    # The kernel then gives it to the asker, and not before.
    while os.getppid() == own:
        time.sleep(_LOOK_S)
    return True


def _taken_over(order: int, answers: int, inherited: Sequence[int]) -> Order:
    """Become what was ordered, once the asker knows of it."""
    # Ctrl-C in the terminal is for the asker.
    os.setsid()
    try:
        os.write(answers, _NUMBER + str(os.getpid()).encode())
        known = os.read(answers, len(GO)) == GO
    except OSError:
        known = False
    if not known:
        os._exit(1)
    with os.fdopen(os.dup(order), "rb") as file:
        file.seek(0)
        words, environment, variables, outputs = json.load(file)
    for descriptor in inherited[:outputs]:
        for standard in (1, 2):
            os.dup2(descriptor, standard)
    for variable, descriptor in zip(variables, inherited[outputs:], strict=True):
        environment[variable] = str(os.dup(descriptor))
    os.environ.clear()
    os.environ.update(environment)
    return Order(words, environment)
