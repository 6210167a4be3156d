"""The log of one answer as its gateway has it: entries in their order, each passed on once.

Tokens come again after a reconnect, and when another worker went on with the answer: then they must
be the same. The end of the reply has the whole log. Pure but for waiting.
"""

import asyncio
from typing import Final, NamedTuple

from penstock.language.payload import CACHED_TOKENS, CANCELLED, ENDED
from penstock.protos import grpc_service_pb2 as pb
from penstock.scheduler.jobs.logs import TOKEN_BYTES
from penstock.scheduler.jobs.types import LogTokens
from penstock.scheduler.requests.parts import ReplyBroken

_MOST_EARLY: Final = 256
"""Pieces that are kept until those before them have come; the end has all."""

_DIFFERS = (
    "the worker that answered is gone, and the next one's answer differs from what was sent "
    "already: send the request again"
)


class End(NamedTuple):
    """What the end of a reply says of the answer.

    Attributes:
        cached_tokens: of the prompt, that had been computed before.
        at_s: when it was, in seconds since 1970; 0 where that is not known.
        cancelled: its client wanted no more of it.
    """

    cached_tokens: int = 0
    at_s: int = 0
    cancelled: bool = False


class TokenLog:
    """One answer's entries, in words of uint32; as a rule each is a token and nothing else.

    Attributes:
        tokens: all that have come.
        end: what the end says, once it has come.
    """

    def __init__(self) -> None:
        self.tokens = bytearray()
        self.end = End()
        self._early: dict[int, bytes] = {}
        self._taken = 0
        self._ended = False
        self._woken = asyncio.Event()

    def put(self, new: LogTokens) -> None:
        """Take tokens in.

        Raises:
            ReplyBroken: some that were there already are others now.
        """
        if new.at > self.count:
            if len(self._early) < _MOST_EARLY:
                self._early[new.at] = new.tokens
            return
        self._take_in(new.at, new.tokens)
        for at in sorted(self._early):
            if at > self.count:
                break
            self._take_in(at, self._early.pop(at))

    def _take_in(self, at: int, tokens: bytes) -> None:
        """Take in *tokens* that follow the first *at*, which are there."""
        begin = TOKEN_BYTES * at
        there = len(self.tokens) - begin
        if self.tokens[begin : begin + len(tokens)] != tokens[:there]:
            raise ReplyBroken(_DIFFERS)
        if len(tokens) > there:
            self.tokens += tokens[there:]
            self._woken.set()

    @property
    def count(self) -> int:
        """How many words have come."""
        return len(self.tokens) // TOKEN_BYTES

    def wake(self, _: object = None) -> None:
        """Let `next` look again: the reply has ended."""
        self._woken.set()

    async def next(self, end: "asyncio.Future[bytes]") -> bytes:
        """The tokens that are new; empty once all are taken and *end* is there.

        Raises:
            ReplyBroken: the end has other tokens than those that came.
            PenstockError: what the reply ended with.
        """
        while self._taken == len(self.tokens):
            if end.done():
                if self._ended:
                    return b""
                self._ended = True
                self._take_end(end.result())
                continue
            self._woken.clear()
            await self._woken.wait()
        new = bytes(self.tokens[self._taken :])
        self._taken = len(self.tokens)
        return new

    def _take_end(self, body: bytes) -> None:
        reply = pb.ModelInferResponse.FromString(body)
        whole = reply.raw_output_contents[0]
        self.end = _end_of(reply)
        if len(whole) < len(self.tokens):
            # Others may have heard more than whoever cancelled it.
            if self.end.cancelled:
                return
            raise ReplyBroken(_DIFFERS)
        self.put(LogTokens("", 0, whole))


def _end_of(reply: pb.ModelInferResponse) -> End:
    said = reply.parameters
    # Asking for what is not there would put it there.
    cached = said[CACHED_TOKENS].int64_param if CACHED_TOKENS in said else 0
    at_s = said[ENDED].int64_param if ENDED in said else 0
    return End(cached, at_s, CANCELLED in said and said[CANCELLED].bool_param)
