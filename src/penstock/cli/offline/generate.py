"""``penstock generate``: let a language model go on from texts, in this process."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from penstock.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from penstock.language.options import DecodingOptions
    from penstock.workers.language.local import LocalModel

_MOST_SLOTS = 64

_Prompts = Annotated[
    list[str], typer.Argument(metavar="PROMPT...", help="What to answer.", show_default=False)
]
_Local = Annotated[
    Path,
    typer.Option(
        "--local",
        metavar="DIR",
        help="The version to load in this process, made by penstock export.",
        show_default=False,
    ),
]
_Option = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        "-O",
        metavar="NAME=VALUE",
        help="How to draw: temperature=0.8, top_p=0.9, top_k, min_p, seed, stop, "
        "repetition_penalty, ... Repeatable.",
    ),
]


def generate(
    prompts: _Prompts,
    local: _Local,
    max_tokens: Annotated[int, typer.Option(min=1, help="Tokens of each answer, at most.")] = 256,
    option: _Option = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="Go on from the text itself, without a chat template.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object for each answer.")
    ] = False,
) -> None:
    """Let an exported language model answer; several prompts share each step."""
    from penstock.process import machine
    from penstock.workers.language.local import LocalModel

    asked = {**_given(option or []), "max_tokens": max_tokens}
    _check_options(asked)
    slots = min(len(prompts), _MOST_SLOTS)
    model = LocalModel.open(local, slots, sys.maxsize, machine.cores())
    options = _options(asked, model)
    tokens = _tokens(local, model, prompts, raw=raw)
    if as_json:
        _print_json(model, tokens, options)
    else:
        _print(model, tokens, options)


def _options(asked: dict[str, Any], model: LocalModel) -> DecodingOptions:
    from penstock.language.options import DecodingOptions

    return DecodingOptions.of(asked, model.manifest.defaults)


def _check_options(asked: dict[str, Any]) -> None:
    """Before a model is loaded, which takes seconds."""
    from penstock.language.options import DecodingOptions

    DecodingOptions.of(asked)


def _given(options: list[str]) -> dict[str, Any]:
    """NAME=VALUE as they are written: values are JSON, or else text."""
    import json

    given: dict[str, Any] = {}
    for option in options:
        name, equals, text = option.partition("=")
        if not equals:
            raise InvalidRequest(f"'{option}' must be NAME=VALUE, such as temperature=0.8")
        try:
            given[name] = json.loads(text)
        except ValueError:
            given[name] = text
    return given


def _tokens(
    directory: Path, model: LocalModel, prompts: Sequence[str], *, raw: bool
) -> list[list[int]]:
    from penstock.language.chat import ChatTemplate

    template = None if raw else ChatTemplate.read(directory)
    if template is None:
        return [model.tokenizer.encode(prompt, special=True) for prompt in prompts]
    try:
        said = model.manifest.template_variables
        texts = [
            template.render([{"role": "user", "content": prompt}], **said) for prompt in prompts
        ]
    finally:
        template.close()
    return [model.tokenizer.encode(text, special=False) for text in texts]


def _print(model: LocalModel, tokens: list[list[int]], options: DecodingOptions) -> None:
    """One answer as it comes; several when they are there."""
    texts = [""] * len(tokens)
    for piece in model.generate(tokens, options):
        texts[piece.number] += piece.text
        if len(tokens) == 1:
            sys.stdout.write(piece.text)
            sys.stdout.flush()
    print("\n\n".join(texts) if len(tokens) > 1 else "")


def _print_json(model: LocalModel, tokens: list[list[int]], options: DecodingOptions) -> None:
    import json

    answers: list[dict[str, Any]] = [
        {"prompt_tokens": len(prompt), "tokens": [], "text": "", "finish": None}
        for prompt in tokens
    ]
    for piece in model.generate(tokens, options):
        answer = answers[piece.number]
        answer["tokens"].append(piece.token)
        answer["text"] += piece.text
        answer["finish"] = piece.finish
    for answer in answers:
        print(json.dumps(answer, ensure_ascii=False))
