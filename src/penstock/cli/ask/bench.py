"""``penstock bench``: measure the throughput and latency of a model that is being served."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from penstock.cli.ask.channel import Gateway, NoGateway, asks_a_gateway
from penstock.errors import InvalidRequest
from penstock.loadgen.plan import Plan

if TYPE_CHECKING:
    from penstock.loadgen.outcome import Outcome
    from penstock.loadgen.requests import Wanted
    from penstock.tensors import Array

_DEFAULT_CONCURRENCY = 16


@dataclass(frozen=True, slots=True)
class _Subject:
    """What is measured."""

    model: str
    version: str
    gateway: Gateway

    def __str__(self) -> str:
        version = f" version {self.version}" if self.version else ""
        return f"{self.model}{version} at {self.gateway.url}"


_Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="The model's name.", show_default=False)
]
_Version = Annotated[
    int | None,
    typer.Option(min=1, help="The model's version; default: the newest.", show_default=False),
]
_Concurrency = Annotated[
    int | None,
    typer.Option(
        "--concurrency",
        "-c",
        min=1,
        help=f"Closed loop: this many callers, each sends again when it has its answer. "
        f"Default: {_DEFAULT_CONCURRENCY}.",
        show_default=False,
    ),
]
_Rate = Annotated[
    float | None,
    typer.Option(
        "--rate",
        "-r",
        min=0.001,
        help="Open loop instead: requests a second at random (Poisson) times; latency counts "
        "from when a request was due.",
        show_default=False,
    ),
]
_Processes = Annotated[int, typer.Option(min=1, help="Load generator processes.")]
_Connections = Annotated[int, typer.Option(min=1, help="Connections of each process.")]
_Duration = Annotated[float, typer.Option("--duration-s", "-d", min=0.1, help="Measured seconds.")]
_Warmup = Annotated[float, typer.Option(min=0.0, help="Seconds before that.")]
_Timeout = Annotated[
    float | None,
    typer.Option(
        min=0.001, help="Deadline of each request; default: the server's.", show_default=False
    ),
]
_Batch = Annotated[int, typer.Option("--batch", "-b", min=1, help="Items in a request.")]
_Input = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        "-i",
        metavar="NAME=@FILE.npy",
        help="Data for an input; what is not given is generated. Repeatable.",
        show_default=False,
    ),
]
_Shape = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=64x32",
        help="Sizes for an input whose own are free, without the batch. Repeatable.",
        show_default=False,
    ),
]
_Seed = Annotated[int, typer.Option(help="Of generated data and of sending times.")]
_Plot = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Draw the latencies: .png, .svg or .pdf.", show_default=False
    ),
]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@asks_a_gateway
def bench(
    model: _Model,
    *,
    gateway: Gateway,
    version: _Version = None,
    concurrency: _Concurrency = None,
    rate: _Rate = None,
    processes: _Processes = 1,
    connections: _Connections = 1,
    duration_s: _Duration = 10.0,
    warmup_s: _Warmup = 1.0,
    timeout_s: _Timeout = None,
    batch: _Batch = 1,
    input_: _Input = None,
    shape: _Shape = None,
    seed: _Seed = 0,
    plot: _Plot = None,
    as_json: _Json = False,
) -> None:
    """Measure throughput and latency of a model, from outside, over gRPC.

    A closed loop (--concurrency) finds the throughput that so many callers reach. An open loop
    (--rate) finds the latency at a given load, the waits behind a stalled server included.
    """  # fmt: skip
    plan = Plan(
        target=gateway.url,
        credentials=gateway.credentials,
        requests=(b"",),
        concurrency=_callers(concurrency, rate, processes),
        rate_per_s=rate,
        processes=processes,
        connections=connections,
        warmup_s=warmup_s,
        duration_s=duration_s,
        timeout_s=timeout_s,
        seed=seed,
    )
    subject = _Subject(model, "" if version is None else str(version), gateway)
    _run(subject, plan, _wanted(batch, shape, input_, seed), plot, as_json=as_json)


def _callers(concurrency: int | None, rate: float | None, processes: int) -> int | None:
    if concurrency is not None and rate is not None:
        raise InvalidRequest("--concurrency is a closed loop and --rate an open one; give one")
    if concurrency is None and rate is None:
        return max(_DEFAULT_CONCURRENCY, processes)
    return concurrency


def _wanted(batch: int, shapes: list[str] | None, inputs: list[str] | None, seed: int) -> Wanted:
    from penstock.loadgen.requests import Wanted

    return Wanted(batch, _shapes(shapes or []), _arrays(inputs or []), seed=seed)


def _run(
    subject: _Subject, plan: Plan, wanted: Wanted, plot: Path | None, *, as_json: bool
) -> None:
    """Make the load, and show what it led to; exit status 1 if no request was answered."""
    if plot is not None:
        _check_plot(plot)
    outcome = asyncio.run(_measure(subject, plan, wanted))
    _show(subject, plan, outcome, batch=wanted.batch, as_json=as_json)
    if not outcome.latency.count:
        raise typer.Exit(1)
    if plot is not None:
        from penstock.loadgen.plot import draw

        draw(outcome, plot, f"{subject}, {_load_text(plan)}")


async def _measure(subject: _Subject, plan: Plan, wanted: Wanted) -> Outcome:
    from penstock.loadgen.fleet import run_load
    from penstock.loadgen.generator import Unreachable
    from penstock.loadgen.requests import describe, first_answer, make_requests

    gateway = subject.gateway
    try:
        model = await describe(gateway.url, subject.model, subject.version, plan.credentials)
    except Unreachable:
        raise NoGateway(gateway) from None
    requests = make_requests(model, wanted)
    await first_answer(gateway.url, requests[0], plan.credentials)
    with _bar(plan) as on_progress:
        return await run_load(replace(plan, requests=requests), on_progress)


@contextlib.contextmanager
def _bar(plan: Plan) -> Iterator[Callable[[int], None]]:
    """A bar of the time that the load takes; it is told of the answers so far."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = BarColumn(), TextColumn("{task.description}"), TimeRemainingColumn()
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("warming up", total=plan.warmup_s + plan.duration_s)

        def on_progress(answered: int) -> None:
            seconds = bar.tasks[0].elapsed or 0.0
            text = f"{answered:,} answers" if answered else "warming up"
            bar.update(task, completed=seconds, description=text)

        yield on_progress


def _show(subject: _Subject, plan: Plan, outcome: Outcome, *, batch: int, as_json: bool) -> None:
    if as_json:
        import json

        print(json.dumps(_facts(subject, plan, outcome, batch), indent=2))
        return
    from rich.console import Console

    from penstock.loadgen.table import render

    console = Console(highlight=False)
    console.print(f"[bold]{subject}[/], {_load_text(plan)}", soft_wrap=True)
    console.print(render(outcome, batch=batch))


def _facts(subject: _Subject, plan: Plan, outcome: Outcome, batch: int) -> dict[str, Any]:
    return {
        "model": subject.model,
        "version": subject.version or None,
        "url": subject.gateway.url,
        "concurrency": plan.concurrency,
        "rate_per_s": plan.rate_per_s,
        "processes": plan.processes,
        "connections": plan.connections * plan.processes,
        "batch": batch,
        "warmup_s": plan.warmup_s,
        "duration_s": plan.duration_s,
        "items_per_s": round(outcome.throughput_per_s * batch, 3),
        **outcome.summary(),
    }


def _load_text(plan: Plan) -> str:
    if plan.concurrency is not None:
        return f"{plan.concurrency} callers (closed loop)"
    return f"{plan.rate_per_s:g} requests/s (open loop)"


def _check_plot(file: Path) -> None:
    """Say what is wrong with ``--plot`` before the load, not after it."""
    import matplotlib as mpl  # noqa: F401 - missing is an error with a remedy

    from penstock.loadgen.plot import check_format

    check_format(file)
    if not file.absolute().parent.is_dir():
        raise InvalidRequest(f"--plot {file}: there is no folder {file.parent}")


def _shapes(options: list[str]) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for option in options:
        name, _, sizes = option.rpartition("=")
        try:
            shapes[name] = tuple(int(size) for size in sizes.replace(",", "x").split("x"))
        except ValueError:
            raise InvalidRequest(f"--shape {option}: write NAME=64x32") from None
        if not name or min(shapes[name]) < 0:
            raise InvalidRequest(f"--shape {option}: write NAME=64x32")
    return shapes


def _arrays(options: list[str]) -> dict[str, Array]:
    import numpy as np

    arrays: dict[str, Array] = {}
    for option in options:
        name, _, file = option.partition("=@")
        if not name or not file.endswith(".npy"):
            raise InvalidRequest(f"--input {option}: write NAME=@file.npy")
        try:
            arrays[name] = np.load(file, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise InvalidRequest(f"--input {option}: {error}") from None
    return arrays
