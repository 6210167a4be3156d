"""``penstock chat``: a conversation with a language model, in the terminal."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from penstock.cli.ask.channel import Gateway, asks_a_gateway
from penstock.cli.ask.generate import MaxTokens, Options, checked_options
from penstock.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

_Model = Annotated[str, typer.Argument(metavar="MODEL", show_default=False)]
_System = Annotated[str | None, typer.Option(metavar="TEXT", help="What the model is told first.")]


@asks_a_gateway
def chat(
    model: _Model,
    system: _System = None,
    max_tokens: MaxTokens = 512,
    option: Options = None,
    *,
    gateway: Gateway,
) -> None:
    """Talk to a language model; each line is a message, Ctrl-D ends.

    An answer goes on, byte for byte, when the worker that computes it dies.
    """
    asked = checked_options(option or [], max_tokens)
    messages = [] if system is None else [{"role": "system", "content": system}]
    for line in _lines():
        messages.append({"role": "user", "content": line})
        try:
            text = _answered(gateway, model, messages, asked)
        except InvalidRequest as error:
            # Such as a conversation that is too long: the last message is taken back.
            typer.secho(str(error), fg="red", err=True)
            messages.pop()
            continue
        messages.append({"role": "assistant", "content": text})


def _lines() -> Iterator[str]:
    """What people write, until the end; a prompt is shown to those at a terminal."""
    at_terminal = sys.stdin.isatty()
    while True:
        try:
            line = input("> ") if at_terminal else input()
        except EOFError:
            return
        if line.strip():
            yield line


def _answered(
    gateway: Gateway, model: str, messages: list[dict[str, str]], asked: dict[str, Any]
) -> str:
    """Show the answer as it comes, and how fast; returns its text."""
    from penstock.cli.ask.conversation import ask

    text, count, began_s = "", 0, 0.0
    for said in ask(gateway, model, messages, asked):
        began_s = began_s or time.monotonic()
        text += said.text
        count += len(said.tokens)
        sys.stdout.write(said.text)
        sys.stdout.flush()
    print()
    took_s = time.monotonic() - began_s
    if sys.stdout.isatty() and count > 1 and took_s > 0:
        typer.secho(f"[{count} tokens, {(count - 1) / took_s:.1f} a second]", dim=True)
    return text
