"""``penstock shard``: cut a model into pipeline stages, prove them, show what was cut."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from penstock.errors import Code, PenstockError

if TYPE_CHECKING:
    from penstock.workers.sharding.pipeline import Order, Progress
    from penstock.workers.sharding.report import ShardReport, StageReport

_UNITS = ("B", "KB", "MB", "GB", "TB")


class CannotStart(PenstockError):
    """What was given is not a model that can be cut."""

    code = Code.INVALID_ARGUMENT


def shard(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="model.onnx, or package.module:factory, where factory returns a torch.nn.Module "
            "(or a module and its sample inputs).",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Where the shards go, such as models/NAME/VERSION.",
            show_default=False,
        ),
    ],
    stages: Annotated[
        int, typer.Option(min=1, metavar="N", help="How many stages to cut it into.")
    ] = 2,
    input_: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            "-i",
            metavar="NAME=SHAPE:TYPE",
            help="How an input looks: image=-1,1,8,8:FP32 (-1: follows the request), or a sample "
            "of it: image=@file.npy. Needed where the model does not say. Repeatable.",
            show_default=False,
        ),
    ] = None,
    tolerance: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=10.0,
            help="How far the largest stage may exceed the best possible balance, for cheaper "
            "cuts: 0.1 is 10 %.",
        ),
    ] = 0.1,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Cut a model into pipeline stages, balanced by the bytes of their parameters.

    The stages are run in a row, at several batch sizes, and written only if they
    answer as the whole model does.
    """  # fmt: skip
    from penstock.workers.sharding.pipeline import Order

    try:
        report = _cut(model, Order(stages, output, tolerance), input_ or [])
    except MemoryError:
        raise CannotStart(
            "not enough memory: cutting needs about twice the model's size; use a larger machine"
        ) from None
    if as_json:
        import json

        print(json.dumps(report.as_json(), indent=2))
    else:
        _show(report)


def _cut(model: str, order: Order, inputs: list[str]) -> ShardReport:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("starting", total=1.0)
        return _dispatch(
            model,
            order,
            inputs,
            lambda doing, share: bar.update(task, description=doing, completed=share),
        )


def _dispatch(model: str, order: Order, inputs: list[str], progress: Progress) -> ShardReport:
    from penstock.workers.sharding.pipeline import shard_onnx, shard_torch
    from penstock.workers.sharding.samples import parse_inputs

    given = parse_inputs(inputs)
    path = Path(model)
    if path.suffix == ".onnx" or path.is_file():
        _check_file(path)
        return shard_onnx(path, order, given, progress)
    if ":" not in model:
        raise CannotStart(
            f"'{model}' is neither a file nor package.module:factory; give model.onnx, or name "
            "the function that makes the torch module"
        )
    progress("importing torch", 0.0)
    from penstock.workers.sharding.torch_factory import load_factory

    return shard_torch(load_factory(model), order, given, progress)


def _check_file(path: Path) -> None:
    if not path.exists():
        raise CannotStart(f"there is no file {path}")
    if path.suffix in (".pt2", ".pt", ".pth"):
        raise CannotStart(
            f"{path} cannot be cut; name the function that makes the module, as package.module:"
            "factory, so that it can be exported stage by stage"
        )


def _show(report: ShardReport) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("Stage", justify="right")
    table.add_column("File", no_wrap=True)
    table.add_column("Cut after", overflow="fold")
    table.add_column("Parameters", justify="right", no_wrap=True)
    table.add_column("Bytes", justify="right", no_wrap=True)
    table.add_column("Hands on", justify="right", no_wrap=True)
    for stage in report.stages:
        table.add_row(*_row(stage))
    console = Console(highlight=False)
    console.print(table)
    console.print(f"\n[green]✓[/] {_verdict(report)}")
    if any(stage.crossing for stage in report.stages):
        console.print("[dim]Hands on: bytes that each item of a batch takes to the next stage.[/]")
    console.print(f"Written to {report.directory}", soft_wrap=True)


def _row(stage: StageReport) -> tuple[str, ...]:
    crossing = "-" if stage.crossing_bytes is None else size_text(stage.crossing_bytes)
    return (
        str(stage.stage),
        stage.file,
        stage.cut_after or "-",
        f"{stage.parameters:,}",
        size_text(stage.parameter_bytes),
        crossing,
    )


def _verdict(report: ShardReport) -> str:
    proof = report.verification
    where = f" at batch sizes {', '.join(map(str, proof.batch_sizes))}" if proof.batch_sizes else ""
    if proof.largest_difference == 0.0:
        return f"The stages in a row answer exactly as the whole model does{where}."
    return (
        f"The stages in a row answer as the whole model does{where} "
        f"(largest difference {proof.largest_difference:.1e})."
    )


def size_text(count: int) -> str:
    """*count* bytes for people: ``1.3 MB``."""
    size, unit = float(count), 0
    while size >= 999.95 and unit < len(_UNITS) - 1:
        size, unit = size / 1000, unit + 1
    return f"{count} B" if unit == 0 else f"{size:.1f} {_UNITS[unit]}"
