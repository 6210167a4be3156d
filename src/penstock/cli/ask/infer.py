"""``penstock infer``: one request from the command line, and its outputs for people or programs.

The replies of a decoupled model are printed one after the other, as they come.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from penstock.cli.ask.channel import Gateway, NoGateway, asks_a_gateway
from penstock.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console, RenderableType

    from penstock.client import Client, InferResult
    from penstock.tensors import Array

_TOP = 5
_BAR = 24
_MOST_VALUES = 64


_Input = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        "-i",
        metavar="NAME=VALUE",
        help="JSON, or @file: JSON, .npy or an image; @- reads standard input. Repeatable.",
        show_default=False,
    ),
]
_Version = Annotated[
    int | None, typer.Option(help="Version of the model.", show_default="the latest")
]
_Output = Annotated[
    list[str] | None,
    typer.Option(
        "--output", "-o", metavar="NAME", help="Only this output. Repeatable.", show_default=False
    ),
]
_Deadline = Annotated[float, typer.Option(help="Seconds to wait for the answer.")]


@asks_a_gateway
def infer(
    model: Annotated[str, typer.Argument(metavar="MODEL", show_default=False)],
    input_: _Input = None,
    version: _Version = None,
    output: _Output = None,
    *,
    gateway: Gateway,
    deadline_s: _Deadline = 30.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Send one request and print the outputs; of a decoupled model, reply after reply.

    penstock infer digits --input image=@7.png
    """
    from rich.console import Console

    from penstock.client import Client, RetryPolicy, Unreachable

    console, count = Console(), 0
    try:
        retry = RetryPolicy(attempts=2)
        with Client(gateway.access(), deadline_s=deadline_s, retry=retry) as client:
            for result in _ask(client, model, version, input_ or [], output):
                count += 1
                if as_json:
                    typer.echo(json.dumps(_as_json(result)))
                else:
                    _show(result, console, separated=count > 1)
    except Unreachable:
        raise NoGateway(gateway) from None
    if not count and not as_json:
        console.print("The model sent no reply.")


def _ask(
    client: Client, model: str, version: int | None, given: list[str], outputs: list[str] | None
) -> Iterator[InferResult]:
    from penstock.cli.ask.inputs import Wanted, read_inputs

    metadata = client.model_metadata(model, version)
    inputs = read_inputs(
        given, [Wanted(one.name, one.datatype, list(one.shape)) for one in metadata.inputs]
    )
    known = [one.name for one in metadata.outputs]
    for name in outputs or ():
        if name not in known:
            raise InvalidRequest(f"the model has no output '{name}'; it has {', '.join(known)}")
    decoupled = client.model_config(model, version).model_transaction_policy.decoupled
    path = {"penstock_path": True}
    if decoupled:
        yield from client.infer_stream(
            model, inputs, version=version, outputs=outputs, parameters=path
        )
    else:
        yield client.infer(model, inputs, version=version, outputs=outputs, parameters=path)


def _as_json(result: InferResult) -> dict[str, Any]:
    return {
        "model": result.model_name,
        "version": result.model_version,
        "parameters": result.parameters,
        "outputs": {
            name: {
                "datatype": result.datatype(name),
                "shape": list(array.shape),
                "data": _plain(array.tolist()),
            }
            for name, array in result.items()
        },
    }


def _plain(value: Any) -> Any:
    """Lists, numbers and text only; bytes that are no text are escaped."""
    if isinstance(value, list):
        return [_plain(element) for element in value]
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else value


def _show(result: InferResult, console: Console, *, separated: bool) -> None:
    if separated:
        console.rule(style="dim")
    console.print(f"[bold]{result.model_name}[/] version {result.model_version}")
    path = result.parameters.get("penstock_path")
    if isinstance(path, str):
        console.print(f"served by {path}", style="dim", highlight=False)
    for name, array in result.items():
        shape = "x".join(map(str, array.shape)) or "scalar"
        console.print(f"\n[bold]{name}[/]  [dim]{result.datatype(name)} {shape}[/]")
        console.print(_values(array))


def _values(array: Array) -> RenderableType:
    """A row of scores as its largest, anything else as it is, and the middle of much left out."""
    import numpy as np
    from rich.text import Text

    scores = array.reshape(-1)
    one_row = array.size and array.size == array.shape[-1] if array.ndim else False
    if one_row and 2 < scores.size <= 100_000 and array.dtype.kind == "f":
        return _largest(scores)
    printed = np.array2string(
        array, threshold=_MOST_VALUES, precision=4, suppress_small=True, max_line_width=78
    )
    return Text(printed)


def _largest(scores: Array) -> RenderableType:
    import numpy as np
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(justify="right", style="cyan")
    table.add_column(justify="right")
    table.add_column(style="green", no_wrap=True)
    are_shares = bool((scores >= 0).all() and (scores <= 1).all())
    for index in np.argsort(-scores, kind="stable")[:_TOP]:
        score = float(scores[index])
        bar = "█" * round(score * _BAR) if are_shares else ""
        table.add_row(str(index), f"{score:.4f}", bar)
    return table
