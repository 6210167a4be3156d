"""The log of one answer as its gateway has it: tokens in their order, each passed on once.

Tokens come again after a reconnect, and when another worker went on with the answer: then they must
be the same. The end of the reply has the whole log. Pure but for waiting.
"""

import asyncio

from penstock.protos import grpc_service_pb2 as pb
from penstock.scheduler.jobs.logs import TOKEN_BYTES
from penstock.scheduler.jobs.types import LogTokens
from penstock.scheduler.requests.parts import ReplyBroken

_DIFFERS = (
    "the worker that answered is gone, and the next one's answer differs from what was sent "
    "already: send the request again"
)


class TokenLog:
    """One answer's tokens, packed as uint32.

    Attributes:
        tokens: all that have come.
    """

    def __init__(self) -> None:
        self.tokens = bytearray()
        self._taken = 0
        self._ended = False
        self._woken = asyncio.Event()

    def put(self, new: LogTokens) -> None:
        """Take tokens in.

        Raises:
            ReplyBroken: some that were there already are others now.
        """
        begin = TOKEN_BYTES * new.at
        there = len(self.tokens) - begin
        if there < 0:
            # Nothing can be done with them yet: the end has all.
            return
        if self.tokens[begin : begin + len(new.tokens)] != new.tokens[:there]:
            raise ReplyBroken(_DIFFERS)
        if len(new.tokens) > there:
            self.tokens += new.tokens[there:]
            self._woken.set()

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
        whole = pb.ModelInferResponse.FromString(body).raw_output_contents[0]
        if len(whole) < len(self.tokens):
            raise ReplyBroken(_DIFFERS)
        self.put(LogTokens("", 0, whole))
