"""The template of workers: it imports what they need, and becomes one in each of its children.

For nodes (`penstock.workers.node.templates`), not for people. What it imports is what a worker has
imported when it is ready.
"""

import contextlib
import gc
import socket
import sys
from importlib import import_module
from typing import Final

from penstock.process import template as templates
from penstock.process.child_process import python_command
from penstock.process.command_line import show
from penstock.settings import WorkerSettings

_WORKER: Final = ("penstock.cli.serve.roles", "penstock.workers.app", "uvloop")


def template(runtime: str, descriptor: int, parent_pid: int, room: str) -> None:
    """Be forked for the workers of one kind of runtime.

    Args:
        descriptor: the socket over which children are ordered.
        parent_pid: the node.
        room: for the longer command lines of workers.
    """
    del room
    from penstock.bound import die_with_parent

    show(python_command("penstock", "template", runtime))
    die_with_parent(parent_pid)
    channel = socket.socket(fileno=descriptor)
    channel.set_inheritable(False)
    _import_all(runtime)
    gc.collect()
    # Collections in the children would write to what all share.
    gc.freeze()
    _become_worker(templates.serve(channel))


def _import_all(runtime: str) -> None:
    from penstock.workers.runtimes.opening import MODULES

    for module in (*_WORKER, *MODULES.get(runtime, ())):
        # What is missing or broken here is so in the worker, which says it well.
        with contextlib.suppress(Exception):
            import_module(module)
    # Otherwise each child would build its own.
    WorkerSettings.model_rebuild()


def _become_worker(order: templates.Order) -> None:
    from penstock.cli.app import run

    show(order.words)
    sys.argv[1:] = order.words[len(python_command("penstock")) :]
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        # Python's own numbers begin anew in each child; numpy's would be the same in all.
        numpy.random.seed()
    run(sys.argv[1:])
