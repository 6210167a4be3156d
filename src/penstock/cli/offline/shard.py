"""``penstock shard``: cut a model into pipeline stages, prove them, show what was cut."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from penstock.errors import Code, PenstockError

if TYPE_CHECKING:
    from penstock.sharding.pipeline import Order, Progress
    from penstock.sharding.report import ShardReport

_TORCH_SUFFIXES = (".pt2", ".pt", ".pth")
_SUFFIXES = (".onnx", *_TORCH_SUFFIXES)
_WHOLE = ("model.onnx", "model.pt2")


class CannotStart(PenstockError):
    """What was given is not a model that can be cut."""

    code = Code.INVALID_ARGUMENT


_Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="model.onnx, or package.module:factory, where factory returns a torch.nn.Module "
        "(or a module and its sample inputs).",
        show_default=False,
    ),
]
_Output = Annotated[
    Path,
    typer.Option(
        "--output",
        "-o",
        metavar="DIR",
        help="Where the shards go, such as models/NAME/VERSION.",
        show_default=False,
    ),
]
_Stages = Annotated[int, typer.Option(min=1, metavar="N", help="How many stages to cut it into.")]
_Input = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        "-i",
        metavar="NAME=SHAPE:TYPE",
        help="How an input looks: image=-1,1,8,8:FP32 (-1: follows the request), or a sample "
        "of it: image=@file.npy. Needed where the model does not say. Repeatable.",
        show_default=False,
    ),
]
_Tolerance = Annotated[
    float,
    typer.Option(
        min=0.0,
        max=10.0,
        help="How far the largest stage may exceed the best possible balance, for cheaper "
        "cuts: 0.1 is 10 %.",
    ),
]


def shard(
    model: _Model,
    output: _Output,
    stages: _Stages = 2,
    input_: _Input = None,
    tolerance: _Tolerance = 0.1,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Cut a model into pipeline stages, balanced by the bytes of their parameters.

    The stages are run in a row, at several values of each size that follows the
    request, and written only if they answer as the whole model does.
    """  # fmt: skip
    from penstock.sharding.pipeline import Order

    try:
        # The report alone goes to standard output, whatever the module to be cut prints.
        with contextlib.redirect_stdout(sys.stderr), progress_bar() as progress:
            report = _cut(model, Order(stages, output, tolerance), input_ or [], progress)
    except MemoryError:
        raise CannotStart(
            "not enough memory: cutting needs about twice the model's size; use a larger machine"
        ) from None
    if as_json:
        import json

        print(json.dumps(report.as_json(), indent=2))
    else:
        _show(report)


@contextlib.contextmanager
def progress_bar() -> Iterator[Progress]:
    """Show what is being done, and the share that is done, where somebody looks on."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    # By its file: while torch exports, sys.stderr is not the terminal.
    console = Console(file=sys.stderr)
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("starting", total=1.0)
        yield lambda doing, share: bar.update(task, description=doing, completed=share)


def _cut(model: str, order: Order, inputs: list[str], progress: Progress) -> ShardReport:
    from penstock.sharding.pipeline import shard_onnx, shard_torch
    from penstock.sharding.samples import parse_inputs

    given = parse_inputs(inputs)
    path = Path(model)
    if path.suffix in _SUFFIXES or path.is_file():
        _check_file(path)
        return shard_onnx(path, order, given, progress)
    if ":" not in model:
        raise CannotStart(
            f"'{model}' is neither a file nor package.module:factory; give model.onnx, or name "
            "the function that makes the torch module"
        )
    progress("importing torch", 0.0)
    from penstock.sharding.torch.factory import load_factory

    return shard_torch(load_factory(model), order, given, progress)


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise CannotStart(f"there is no file {path}: give an ONNX file, or package.module:factory")
    if path.suffix in _TORCH_SUFFIXES:
        raise CannotStart(
            f"{path} cannot be cut; name the function that makes the module, as package.module:"
            "factory, so that it can be exported stage by stage"
        )


def _show(report: ShardReport) -> None:
    from rich.console import Console
    from rich.text import Text

    from penstock.cli.tables import plain_table, size_text

    table = plain_table("stage", "file", "cut after", "parameters", "bytes", "activations")
    for stage in report.stages:
        activations = stage.crossing_bytes
        table.add_row(
            str(stage.stage),
            stage.file,
            stage.cut_after or "-",
            f"{stage.parameters:,}",
            size_text(stage.parameter_bytes),
            "-" if activations is None else size_text(activations),
        )
    console = Console(highlight=False)
    console.print(table)
    console.print()
    console.print(Text(_verdict(report), style="green"))
    if any(stage.crossing for stage in report.stages):
        who = "each item of a batch" if report.verification.batch_sizes else "a request"
        console.print(Text(f"Activations: what {who} takes to the next stage.", style="dim"))
    console.print(Text(f"Written to {report.directory}"), soft_wrap=True)
    for whole in _WHOLE:
        if (report.directory / whole).exists():
            warning = f"{whole} is there, too: remove it, or this version cannot be served."
            console.print(Text(warning, style="yellow"))


def _verdict(report: ShardReport) -> str:
    proof = report.verification
    at = [f"batch sizes {', '.join(map(str, proof.batch_sizes))}"] if proof.batch_sizes else []
    at += [f"{place} {size} and {other}" for place, (size, other) in proof.free_sizes.items()]
    where = f" ({'; '.join(at)})" if at else ""
    if proof.largest_difference == 0.0:
        return f"The stages answer exactly as the whole model does{where}."
    within = f"{proof.largest_difference:.1e}"
    return f"The stages answer as the whole model does, within {within}{where}."
