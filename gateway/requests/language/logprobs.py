"""Log probabilities of an answer's tokens, as an output of the reply: JSON as Triton's vLLM has it.

It is a list with an object for each token: the tokens that are told of, the one that came first,
each with `logprob`, `rank` and `decoded_token`. Beside these are `bytes`, null for what is no text,
and of the token that came `text_offset`: how many characters of the answer are before it.
"""

import codecs
import json
from collections.abc import Iterable
from typing import Any

from penstock.language.log.entries import Words, likelihood_in
from penstock.language.log.spelling import Spelling


class Describer:
    """Describes the tokens of one answer, in their order."""

    def __init__(self, spelling: Spelling) -> None:
        self._spelling = spelling
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._characters = 0

    def push(self, token: int) -> int:
        """How many characters are before *token*, the next one; half a character is none."""
        before = self._characters
        self._characters += len(self._decoder.decode(self._spelling.bytes_of(token) or b""))
        return before

    def described(self, entry: Words, before: int) -> dict[int, dict[str, Any]]:
        """What is told of an entry, whose token has so many characters before it."""
        token, (logprob, rank, likeliest) = int(entry[0]), likelihood_in(entry)
        found = {token: {**self._one(token, logprob, rank), "text_offset": before}}
        for place, (other, its) in enumerate(likeliest, 1):
            if other != token:
                found[other] = self._one(other, its, place)
        return found

    def first(self, token: int) -> dict[int, dict[str, Any]]:
        """What is told of a prompt's first *token*: it follows from nothing."""
        before = self.push(token)
        return {token: {**self._one(token, None, None), "text_offset": before}}

    def _one(self, token: int, logprob: float | None, rank: int | None) -> dict[str, Any]:
        content = self._spelling.bytes_of(token)
        return {
            "logprob": logprob,
            "rank": rank,
            "decoded_token": self._spelling.text_of(token),
            "bytes": None if content is None else list(content),
        }


def as_json(described: Iterable[dict[int, dict[str, Any]]]) -> bytes:
    """The output of one response."""
    return json.dumps(list(described), separators=(",", ":")).encode()


def joined_json(outputs: Iterable[bytes]) -> bytes:
    """The output of a reply, of those of all its responses."""
    inner = [output[1:-1] for output in outputs]
    return b"[" + b",".join(part for part in inner if part) + b"]"
