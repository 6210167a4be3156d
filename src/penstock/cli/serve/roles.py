"""The commands that run one role each: gateway, scheduler, node, worker.

Their options are the fields of `penstock.settings`.
"""

from collections.abc import Coroutine
from typing import Any, TypeVar

import typer

from penstock.cli.serve.options import on_settings
from penstock.process.lifetime import end_process
from penstock.settings import (
    GatewaySettings,
    NodeSettings,
    RoleSettings,
    SchedulerSettings,
    WorkerSettings,
)

T = TypeVar("T")


@on_settings(GatewaySettings)
def gateway(settings: GatewaySettings) -> None:
    """Run a gateway: the gRPC server that clients talk to. Any number may run, all equal."""
    from penstock.gateway.access.exposure import refuse_exposed
    from penstock.process.redaction import keep_secret

    _begin(settings)
    refuse_exposed(settings)
    keep_secret(settings.parent_key)
    keep_secret(*(rule.partition("=")[2] for rule in settings.grpc_restricted_protocol))
    from penstock.cli.serve.template import seed
    from penstock.gateway.app import run

    # Before there are threads, connections or a loop.
    _run(run(settings, seed() if settings.processes > 1 else None))
    end_process()


@on_settings(SchedulerSettings)
def scheduler(settings: SchedulerSettings) -> None:
    """Run a scheduler: it publishes a model repository and places its shards on nodes."""
    _begin(settings)
    from penstock.scheduler.app import run

    _run(run(settings))
    end_process()


@on_settings(NodeSettings)
def node(settings: NodeSettings) -> None:
    """Run this machine's agent: it starts and watches the workers that are placed here."""
    _begin(settings)
    from penstock.cli.serve.template import seed
    from penstock.workers.node.agent import run

    # Before there are threads, connections or a loop.
    _run(run(settings, seed()))
    end_process()


@on_settings(WorkerSettings)
def worker(settings: WorkerSettings) -> None:
    """Run one worker: one shard on one device. Exit status 3: the shard cannot be loaded."""
    _begin(settings)
    from penstock.workers.app import run

    status = _run(run(settings))
    if settings.allow_python_models:
        # Models' code may have left something for the interpreter's end.
        raise typer.Exit(status)
    end_process(status=status)


def _begin(settings: RoleSettings) -> None:
    """Take up the life of a role."""
    from penstock.bound import die_with_parent
    from penstock.process.child_process import forget_secrets
    from penstock.process.heap import keep_freed_memory
    from penstock.process.redaction import keep_password
    from penstock.telemetry import configure_logging

    die_with_parent(settings.parent_pid)
    keep_freed_memory()
    configure_logging(settings.role, level=settings.log_level, json_lines=settings.log_json)
    forget_secrets()
    keep_password(settings.redis)


def _run(main: Coroutine[Any, Any, T]) -> T:
    try:
        import uvloop
    except ModuleNotFoundError:
        import asyncio

        return asyncio.run(main)
    answer: T = uvloop.run(main)
    return answer
