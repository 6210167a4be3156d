"""The template of roles: it imports what they need, and becomes one in each of its children.

For processes that start others (`penstock.process.forking.templates`), not for people. What it
imports is what its children have imported when they are ready.
"""

import contextlib
import gc
import os
import socket
import sys
from importlib import import_module
from typing import Final, NoReturn

from penstock.process.child_process import python_command
from penstock.process.command_line import has_room, show
from penstock.process.forking import template as templates
from penstock.process.forking.templates import Seed
from penstock.process.lifetime import quiet_libraries
from penstock.process.redaction import hide_arguments
from penstock.settings import GatewaySettings, NodeSettings, SchedulerSettings, WorkerSettings

_SEED: Final = "seed"

ROLES: Final = "roles"
"""The kind of the children of `penstock up`: of gateway, scheduler and node."""

_ALL: Final = ("penstock.cli.serve.roles", "uvloop")
_WORKER: Final = (*_ALL, "penstock.workers.app")
_OTHERS: Final = (
    *_ALL,
    "penstock.gateway.app",
    "penstock.scheduler.app",
    "penstock.workers.node.agent",
)


def template(kind: str, parent_pid: int, room: str) -> None:
    """Be forked for the workers of one kind of runtime, or for the other roles.

    Args:
        kind: of runtime; or "roles".
        parent_pid: whoever orders them.
        room: for the longer command lines of children.
    """
    del room
    from penstock.bound import die_with_parent

    show(python_command("penstock", "template", kind))
    die_with_parent(parent_pid)
    channel = socket.socket(fileno=int(os.environ.pop(templates.CHANNEL)))
    channel.set_inheritable(False)
    _import_all(kind)
    _serve(channel)


def seed() -> Seed | None:
    """Fork this process for its templates, now that it has imported much and begun nothing.

    None where that cannot be, and where workers could not show their command lines.
    """
    if not templates.available() or templates.other_threads() or not has_room():
        return None
    parent_pid = os.getpid()
    own, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if not pid:
        own.close()
        _grow(theirs, parent_pid)
    theirs.close()
    return Seed(own, pid)


def _grow(channel: socket.socket, parent_pid: int) -> NoReturn:
    """Be forked for templates."""
    from penstock.bound import die_with_parent

    os.setsid()
    show(python_command("penstock", "template", _SEED))
    die_with_parent(parent_pid)
    _serve(channel)


def _serve(channel: socket.socket) -> NoReturn:
    gc.collect()
    # Collections in the children would write to what all share.
    gc.freeze()
    _become(templates.serve(channel))


def _import_all(kind: str) -> None:
    modules: tuple[str, ...] = _OTHERS
    if kind != ROLES:
        from penstock.workers.runtimes.opening import MODULES

        modules = (*_WORKER, *MODULES.get(kind, ()))
    for module in modules:
        # What is missing or broken here is so in the child, which says it well.
        with contextlib.suppress(Exception):
            import_module(module)
    # Otherwise each child would build its own.
    for settings in (GatewaySettings, SchedulerSettings, NodeSettings, WorkerSettings):
        settings.model_rebuild()


def _become(order: templates.Order) -> NoReturn:
    from penstock.cli.app import run

    show(order.words)
    hide_arguments()
    quiet_libraries()
    sys.argv[1:] = order.words[len(python_command("penstock")) :]
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        # Python's own numbers begin anew in each child; numpy's would be the same in all.
        numpy.random.seed()
    run(sys.argv[1:])
    raise SystemExit
