"""Conversations with language models on a cluster: what is asked, and what comes piece by piece."""

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any, Final, NamedTuple

import numpy as np

from penstock.cli.ask.channel import Gateway, NoGateway
from penstock.client import Client, InferResult, RetryPolicy, Unreachable
from penstock.models.config.language_models import (
    MESSAGES_INPUT,
    SAMPLING_INPUT,
    TEXT_INPUT,
    TEXT_OUTPUT,
    TOKENS_OUTPUT,
)

DEADLINE_S: Final = 600.0
_MOST_AT_ONCE: Final = 64

Content = str | Sequence[Mapping[str, Any]]
"""A text to go on from, or messages to answer."""


class Said(NamedTuple):
    """What has come of one answer.

    Attributes:
        number: of the prompt.
        finish: how it ended, with its last piece.
        prompt_tokens: 0 until it is known.
    """

    number: int
    text: str
    tokens: list[int]
    finish: str | None
    prompt_tokens: int


def ask_all(
    gateway: Gateway, model: str, contents: Sequence[Content], options: Mapping[str, Any]
) -> Iterator[Said]:
    """Ask for answers to all *contents* at once; their pieces as they come.

    Raises:
        NoGateway: nobody answers.
        PenstockError: one of them ended otherwise.
    """
    if len(contents) == 1:
        yield from ask(gateway, model, contents[0], options)
        return
    pieces: SimpleQueue[Said | BaseException | None] = SimpleQueue()

    def one(number: int, content: Content) -> None:
        try:
            for said in ask(gateway, model, content, options):
                pieces.put(said._replace(number=number))
            pieces.put(None)
        except BaseException as error:  # noqa: BLE001 - raised where they are taken
            pieces.put(error)

    with ThreadPoolExecutor(_MOST_AT_ONCE) as threads:
        left = len(contents)
        for number, content in enumerate(contents):
            threads.submit(one, number, content)
        while left:
            piece = pieces.get()
            if isinstance(piece, BaseException):
                raise piece
            if piece is None:
                left -= 1
            else:
                yield piece


def ask(
    gateway: Gateway, model: str, content: Content, options: Mapping[str, Any]
) -> Iterator[Said]:
    """Ask for one answer; errors as for `ask_all`."""
    text = content if isinstance(content, str) else json.dumps(list(content))
    inputs = {
        TEXT_INPUT if isinstance(content, str) else MESSAGES_INPUT: _text(text),
        SAMPLING_INPUT: _text(json.dumps(dict(options))),
    }
    retry = RetryPolicy(attempts=2)
    try:
        with Client(gateway.access(), deadline_s=DEADLINE_S, retry=retry) as client:
            for result in client.infer_stream(model, inputs):
                yield _said(result)
    except Unreachable:
        raise NoGateway(gateway) from None


def _text(text: str) -> Any:
    return np.array([text.encode()], dtype=object)


def _said(result: InferResult) -> Said:
    about = result.parameters
    finish = about.get("finish_reason")
    return Said(
        0,
        result[TEXT_OUTPUT][0].decode(),
        result[TOKENS_OUTPUT].tolist(),
        None if finish is None else str(finish),
        int(about.get("prompt_tokens", 0)),
    )
