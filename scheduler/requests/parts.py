"""Parts of one reply, put in order as they arrive, each passed on once.

Parts come again after a worker's death, when the next one makes the reply anew, and after a
reconnect. What was passed on is not passed on again, and what comes again must be the same. Pure
but for waiting.
"""

import asyncio
from collections import deque
from typing import Final, NamedTuple

from penstock.errors import Code, PenstockError
from penstock.protos import grpc_service_pb2 as pb
from penstock.scheduler.jobs.types import PARTS, Chunk
from penstock.scheduler.replies.chunks import MOST_AHEAD, MOST_BYTES_AHEAD

# Of what may be on its way, this much is passed on before the worker hears of it.
_REPORT_PARTS: Final = MOST_AHEAD // 4
_REPORT_BYTES: Final = MOST_BYTES_AHEAD // 4


class Part(NamedTuple):
    """One response of several: a serialized ModelInferResponse. The final one has no outputs."""

    body: bytes
    final: bool


class ReplyBroken(PenstockError):
    """A reply in parts cannot be ended as it was begun."""

    code = Code.ABORTED
    retry_after_ms = 100


class PartsInOrder:
    """One reply.

    Attributes:
        passed_on: parts that have been passed on.
        passed_bytes: bytes of them.
    """

    def __init__(self) -> None:
        self._waiting: deque[bytes] = deque()
        self._woken = asyncio.Event()
        self._arrived = 0
        self._digest = b""
        self._unreported = 0
        self._unreported_bytes = 0
        self.passed_on = 0
        self.passed_bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, chunk: Chunk) -> bool:
        """Take a part in; whether the worker should hear how far its reply has been passed on.

        Raises:
            ReplyBroken: a part is missing, or is not what it was before.
        """
        if chunk.index > self._arrived + 1:
            raise ReplyBroken("a part of the reply was lost: send the request again")
        if chunk.index <= self._arrived:
            if chunk.index == self._arrived and chunk.digest != self._digest:
                raise ReplyBroken(
                    "the worker that answered is gone, and the next one's answer differs from what "
                    "was sent already: send the request again"
                )
            return self._is_report_due(len(chunk.body))
        self._arrived, self._digest = chunk.index, chunk.digest
        self._waiting.append(chunk.body)
        self._woken.set()
        return False

    def wake(self, _: object = None) -> None:
        """Let `next` look again: the reply has ended."""
        self._woken.set()

    async def next(self, end: "asyncio.Future[bytes]") -> bytes | None:
        """The next part, a serialized ModelInferResponse; None once all are taken and *end* is."""
        while not self._waiting:
            if end.done():
                return None
            self._woken.clear()
            await self._woken.wait()
        return self._waiting.popleft()

    def passed(self, body: bytes) -> bool:
        """A part has been passed on; whether the worker should hear of it."""
        self.passed_on += 1
        self.passed_bytes += len(body)
        return self._is_report_due(len(body))

    def end(self, body: bytes) -> bytes:
        """The reply's end, as clients get it.

        Raises:
            ReplyBroken: other parts came than it counts.
        """
        response = pb.ModelInferResponse.FromString(body)
        parts = response.parameters[PARTS].int64_param
        if parts != self._arrived:
            raise ReplyBroken(
                f"the reply ended after {parts} parts, but {self._arrived} were sent already: send "
                "the request again"
            )
        del response.parameters[PARTS]
        return response.SerializeToString()

    def _is_report_due(self, size: int) -> bool:
        self._unreported += 1
        self._unreported_bytes += size
        if self._unreported < _REPORT_PARTS and self._unreported_bytes < _REPORT_BYTES:
            return False
        self._unreported = self._unreported_bytes = 0
        return True
