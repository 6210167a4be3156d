"""The command line's table of commands, and how errors reach people.

A command's module is imported only when the command is called; ``penstock --help`` needs none.
"""

import functools
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Annotated, Any, NamedTuple

import typer

from penstock import __version__
from penstock.errors import PenstockError
from penstock.process.lifetime import INTERRUPTED
from penstock.process.redaction import redacted


class Entry(NamedTuple):
    """Where a command is, and its line in the list of commands.

    Attributes:
        target: "module:attribute" below penstock.cli: a function, or a Typer with commands.
    """

    name: str
    target: str
    panel: str
    line: str


_USE, _RUN = "Use a cluster", "Run a cluster"

COMMANDS = (
    Entry("up", "serve.up:up", _RUN, "Run everything on this machine, until Ctrl-C"),
    Entry(
        "gateway",
        "serve.roles:gateway",
        _RUN,
        "Run a gateway: the gRPC server that clients talk to",
    ),
    Entry(
        "scheduler",
        "serve.roles:scheduler",
        _RUN,
        "Run a scheduler: it publishes and places models",
    ),
    Entry(
        "node", "serve.roles:node", _RUN, "Run this machine's agent: it starts and watches workers"
    ),
    Entry("worker", "serve.roles:worker", _RUN, "Run one worker: one shard on one device"),
    Entry("status", "ask.status:status", _USE, "Show nodes, models, stages, workers and queues"),
    Entry("models", "ask.models:models", _USE, "List, load and unload models"),
    Entry("jobs", "ask.jobs:jobs", _USE, "Show and retry dead letters"),
    Entry("keys", "access.keys:keys", _USE, "Make, list, rotate and revoke callers' keys"),
    Entry("audit", "access.audit:audit", _USE, "Show what administrators did"),
    Entry("infer", "ask.infer:infer", _USE, "Send one request and print the outputs"),
    Entry("bench", "ask.bench:bench", _USE, "Measure throughput and latency"),
    Entry("shard", "offline.shard:shard", _USE, "Cut a model into pipeline stages"),
    Entry("export", "offline.export:export", _USE, "Export a language model as stages"),
    Entry("chat", "ask.chat:chat", _USE, "Talk to a language model"),
    Entry("generate", "ask.generate:generate", _USE, "Let a language model answer"),
    Entry(
        "check", "offline.check:check", _USE, "Find problems of this machine, or of a repository"
    ),
)

_TEMPLATE = Entry(
    "template", "serve.template:template", _RUN, "Be forked for roles; for who starts them"
)
"""A command that no person calls: help does not show it."""

_REMEDIES = {
    "onnx": "'penstock[onnx]'",
    "onnxruntime": "'penstock[onnx]'",
    "torch": "'penstock[torch]'",
    "matplotlib": "matplotlib",
    **dict.fromkeys(
        ("gguf", "jinja2", "llguidance", "safetensors", "tokenizers"), "'penstock[language]'"
    ),
}


def run(arguments: Sequence[str]) -> None:
    """Carry out a command line and end the process with its status."""
    completing = "_PENSTOCK_COMPLETE" in os.environ
    build(None if completing else arguments)(args=list(arguments), prog_name="penstock")


def build(arguments: Sequence[str] | None = None) -> typer.Typer:
    """The command line's app; with *arguments*, only the command that they name is imported."""
    app = typer.Typer(
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(help="Serve trained models over gRPC: one queue per model, over all machines.")(
        _options
    )
    named = next((word for word in arguments or () if not word.startswith("-")), None)
    for entry in COMMANDS:
        called = arguments is None or entry.name == named
        target = _load(entry) if called else _not_called
        if isinstance(target, typer.Typer):
            app.add_typer(target, name=entry.name, help=entry.line, rich_help_panel=entry.panel)
        else:
            app.command(entry.name, short_help=entry.line, rich_help_panel=entry.panel)(target)
    if named == _TEMPLATE.name:
        app.command(named, hidden=True)(_load(_TEMPLATE))
    return app


def _load(entry: Entry) -> Callable[..., Any] | typer.Typer:
    module, _, attribute = entry.target.partition(":")
    target = getattr(import_module(f"penstock.cli.{module}"), attribute)
    if not isinstance(target, typer.Typer):
        return _guarded(target)
    _guard_all(target)
    return target


def _guard_all(group: typer.Typer) -> None:
    for command in group.registered_commands:
        if command.callback is not None:
            command.callback = _guarded(command.callback)
    for inner in group.registered_groups:
        if inner.typer_instance is not None:
            _guard_all(inner.typer_instance)


def _not_called() -> None:
    """Stand in the list for a command that was not asked for."""


def _guarded(command: Callable[..., Any]) -> Callable[..., Any]:
    """*command*, with errors as one line that says what to do."""

    @functools.wraps(command)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except PenstockError as error:
            _complain(str(error))
            raise typer.Exit(1) from error
        except ModuleNotFoundError as error:
            if error.name is None or error.name.startswith("penstock"):
                raise
            top = error.name.partition(".")[0]
            remedy = _REMEDIES.get(top, "'penstock[server]'")
            _complain(f"this needs '{top}', which is not installed: pip install {remedy}")
            raise typer.Exit(1) from error
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None

    return guarded


def _complain(text: str) -> None:
    sys.stdout.flush()
    typer.secho(f"penstock: {redacted(' '.join(text.split()))}", fg="red", err=True)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"penstock {__version__}")
        raise typer.Exit


def _options(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", is_eager=True, callback=_show_version),
    ] = False,
) -> None:
    """Options that stand before the command."""
