"""``penstock generate``: let a language model answer, on a cluster or in this process."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from penstock.cli.ask.channel import Gateway, asks_a_gateway
from penstock.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from penstock.cli.ask.conversation import Said
    from penstock.language.options import DecodingOptions
    from penstock.workers.language.local import LocalModel

_MOST_SLOTS: Final = 64

_Prompts = Annotated[
    list[str], typer.Argument(metavar="PROMPT...", help="What to answer.", show_default=False)
]
_Model = Annotated[
    str | None,
    typer.Option("--model", metavar="NAME", help="The model on the cluster.", show_default=False),
]
_Local = Annotated[
    Path | None,
    typer.Option(
        "--local",
        metavar="DIR",
        help="A version to load in this process instead, made by penstock export.",
        show_default=False,
    ),
]
Options = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        "-O",
        metavar="NAME=VALUE",
        help="How to draw: temperature=0.8, top_p=0.9, top_k, min_p, seed, stop, "
        "repetition_penalty, ... Repeatable.",
    ),
]
MaxTokens = Annotated[int, typer.Option(min=1, help="Tokens of each answer, at most.")]


@asks_a_gateway
def generate(
    prompts: _Prompts,
    model: _Model = None,
    local: _Local = None,
    max_tokens: MaxTokens = 256,
    option: Options = None,
    *,
    raw: Annotated[
        bool, typer.Option("--raw", help="Go on from the text itself, without a chat template.")
    ] = False,
    gateway: Gateway,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object for each answer.")
    ] = False,
) -> None:
    """Let a language model answer; several prompts share each step.

    penstock generate --model smollm2 'Why is the sky blue?' -O temperature=0.7
    """
    asked = checked_options(option or [], max_tokens)
    if (model is None) == (local is None):
        raise InvalidRequest("say either --model NAME or --local DIR")
    if local is not None:
        said = _locally(local, prompts, asked, raw=raw)
    else:
        from penstock.cli.ask.conversation import ask_all

        contents = [prompt if raw else [_message(prompt)] for prompt in prompts]
        said = ask_all(gateway, str(model), contents, asked)
    if as_json:
        _print_json(said, len(prompts))
    else:
        _print(said, len(prompts))


def checked_options(options: list[str], max_tokens: int) -> dict[str, Any]:
    """What is asked for, as it is written: values are JSON, or else text.

    Raises:
        InvalidRequest: before anything is loaded or asked.
    """
    from penstock.language.options import DecodingOptions

    asked: dict[str, Any] = {}
    for option in options:
        name, equals, text = option.partition("=")
        if not equals:
            raise InvalidRequest(f"'{option}' must be NAME=VALUE, such as temperature=0.8")
        try:
            asked[name] = json.loads(text)
        except ValueError:
            asked[name] = text
    asked["max_tokens"] = max_tokens
    DecodingOptions.of(asked)
    return asked


def _message(prompt: str) -> dict[str, str]:
    return {"role": "user", "content": prompt}


def _locally(
    directory: Path, prompts: Sequence[str], asked: dict[str, Any], *, raw: bool
) -> Iterator[Said]:
    from penstock.cli.ask.conversation import Said
    from penstock.language.options import DecodingOptions
    from penstock.process import machine
    from penstock.workers.language.local import LocalModel

    slots = min(len(prompts), _MOST_SLOTS)
    model = LocalModel.open(directory, slots, sys.maxsize, machine.cores())
    options: DecodingOptions = DecodingOptions.of(asked, model.manifest.defaults)
    tokens = _tokens(directory, model, prompts, raw=raw)
    for piece in model.generate(tokens, options):
        finish = None if piece.finish is None else str(piece.finish)
        yield Said(piece.number, piece.text, [piece.token], finish, len(tokens[piece.number]))


def _tokens(
    directory: Path, model: LocalModel, prompts: Sequence[str], *, raw: bool
) -> list[list[int]]:
    from penstock.language.chat import ChatTemplate

    template = None if raw else ChatTemplate.read(directory)
    if template is None:
        return [model.tokenizer.encode(prompt, special=True) for prompt in prompts]
    try:
        variables = model.manifest.template_variables
        texts = [template.render([_message(prompt)], **variables) for prompt in prompts]
    finally:
        template.close()
    return [model.tokenizer.encode(text, special=False) for text in texts]


def _print(said: Iterable[Said], count: int) -> None:
    """One answer as it comes; several when they are there."""
    texts = [""] * count
    for piece in said:
        texts[piece.number] += piece.text
        if count == 1:
            sys.stdout.write(piece.text)
            sys.stdout.flush()
    print("\n\n".join(texts) if count > 1 else "")


def _print_json(said: Iterable[Said], count: int) -> None:
    answers: list[dict[str, Any]] = [
        {"prompt_tokens": 0, "tokens": [], "text": "", "finish": None} for _ in range(count)
    ]
    for piece in said:
        answer = answers[piece.number]
        answer["prompt_tokens"] = piece.prompt_tokens or answer["prompt_tokens"]
        answer["tokens"] += piece.tokens
        answer["text"] += piece.text
        answer["finish"] = piece.finish
    for answer in answers:
        print(json.dumps(answer, ensure_ascii=False))
