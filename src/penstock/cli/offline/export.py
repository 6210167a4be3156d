"""``penstock export``: a language model's checkpoint becomes a version that can be served."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from penstock.cli.offline.shard import progress_bar
from penstock.errors import InvalidConfiguration

if TYPE_CHECKING:
    from penstock.exporting.graphs.matrices import Weights
    from penstock.language.manifest import Manifest

_Source = Annotated[
    Path,
    typer.Argument(
        metavar="CHECKPOINT",
        help="A GGUF file; a Hugging Face folder with safetensors and config.json; the folder of "
        "an ONNX export by optimum or onnxruntime-genai; of Whisper CTranslate2's folder, too.",
        show_default=False,
    ),
]
_Output = Annotated[
    Path,
    typer.Option(
        "--output",
        "-o",
        metavar="DIR",
        help="Where the version goes, such as models/NAME/1.",
        show_default=False,
    ),
]
_Stages = Annotated[
    int, typer.Option(min=1, metavar="N", help="How many stages; each can have its own worker.")
]
_Context = Annotated[
    int | None,
    typer.Option(
        metavar="TOKENS", help="The most tokens of prompt and answer.", show_default="the model's"
    ),
]
_Tokenizer = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="A tokenizer.json in place of the checkpoint's own.",
        show_default=False,
    ),
]
_Weights = Annotated[
    str,
    typer.Option(
        metavar="KIND",
        help="fp32, int8, or int4 (with 8 bits for embeddings and head): smaller and faster.",
    ),
]


def export(
    checkpoint: _Source,
    output: _Output,
    stages: _Stages = 1,
    context: _Context = None,
    tokenizer: _Tokenizer = None,
    weights: _Weights = "fp32",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Export a language model of the Llama family as ONNX stages, balanced by computing.

    Or a Whisper, which writes down what it hears: its encoder, and its decoder as one stage.
    Weights become fp32, or blocks of 8 or 4 bits. Nothing that a checkpoint carries is
    executed. What was written is tried: language.json says how a lost cache comes back to the bit.
    """  # fmt: skip
    from penstock.exporting.export import Order
    from penstock.exporting.export import export as write

    order = Order(output, stages, context, tokenizer, _weights(weights))
    notices: list[str] = []
    with progress_bar() as progress:
        manifest = write(checkpoint, order, progress, notices.append)
    if as_json:
        print(manifest.to_json(), end="")
    else:
        _show(manifest, output)
    for notice in notices:
        print(notice, file=sys.stderr)


def _weights(kind: str) -> Weights:
    from penstock.exporting.graphs.matrices import Weights

    if kind not in list(Weights):
        raise InvalidConfiguration(f"--weights {kind}: it is one of {', '.join(Weights)}")
    return Weights(kind)


def _show(manifest: Manifest, output: Path) -> None:
    from rich.console import Console
    from rich.text import Text

    from penstock.cli.tables import plain_table, size_text

    work = sum(stage.token_work for stage in manifest.stages)
    table = plain_table("stage", "file", "layers", "bytes", "work")
    for number, stage in enumerate(manifest.stages):
        layers = f"{stage.first_layer}-{stage.first_layer + stage.layers - 1}"
        share = f"{100 * stage.token_work / work:.0f} %"
        table.add_row(str(number), stage.artifact, layers, size_text(stage.weight_bytes), share)
    if (speech := manifest.speech) is not None:
        table.add_row("encoder", speech.artifact, "", size_text(speech.weight_bytes), "")
    console = Console(highlight=False)
    console.print(table)
    console.print()
    said = _REBUILDS[manifest.rebuild]
    console.print(Text(said, style="yellow" if manifest.rebuild == "none" else "green"))
    each = size_text(manifest.token_bytes)
    console.print(
        Text(
            f"Weights {manifest.weights}; context {manifest.context} tokens, {each} of cache for "
            "each.",
            style="dim",
        )
    )
    console.print(Text(f"Written to {output}"), soft_wrap=True)


_REBUILDS = {
    "prefill": "A lost cache comes back equal to the bit when its tokens are read again.",
    "replay": "A lost cache comes back equal to the bit when its tokens are read one by one.",
    "none": "A lost cache does not come back equal to the bit here: an answer may go on otherwise.",
}
