"""Resumable answers: an answer of a language model that goes on without its gateway (ADR 0046).

It is a shared reply whose log all who wait hear of, and where each begins is their own business.
"""

import asyncio
import time
from collections.abc import Callable

from penstock.gateway.replies.shared import NO_ID, SharedJob, Sharing
from penstock.language.payload import CANCELLED, ENDED
from penstock.protos import grpc_service_pb2 as pb
from penstock.scheduler.jobs.shared_replies import Follow, Joined, Shared
from penstock.scheduler.jobs.types import LogTokens, NewJob, Reply
from penstock.scheduler.requests.token_log import TokenLog


class ResumableJob(SharedJob):
    """One request's part in an answer that may be resumed.

    Attributes:
        log: what has come of the answer.
    """

    def __init__(
        self, sharing: Sharing, shared: Shared, job: NewJob, deliver: Callable[[LogTokens], None]
    ) -> None:
        """*deliver* takes tokens for *job*; where they differ from what was there it ends it."""
        super().__init__(sharing, shared, job.followed_by(NO_ID))
        self.log = TokenLog()
        self._deliver = deliver

    async def conclude(self) -> int:
        """End the answer where it is: its text has come to its end. When, in seconds since 1970."""
        return await self._end(bytes(self.log.tokens), cancelled=False)

    async def give_up(self) -> None:
        """End the answer where it is, unless it has ended: its client wants no more of it.

        Raises:
            StoreUnavailable: nobody knows whether it has.
        """
        found: asyncio.Future[Joined] = asyncio.get_running_loop().create_future()

        def joined(outcome: Joined) -> None:
            if not found.done():
                found.set_result(outcome)

        self._sharing.join(self._shared, self._job, self._waiter(has=0), joined)
        outcome = await found
        if isinstance(outcome, Exception):
            raise outcome
        if not isinstance(outcome, Reply):
            tokens = outcome.tokens if isinstance(outcome, Follow) else b""
            await self._end(tokens, cancelled=True)

    async def _end(self, tokens: bytes, *, cancelled: bool) -> int:
        reply, now_s = pb.ModelInferResponse(raw_output_contents=[tokens]), int(time.time())
        reply.parameters[ENDED].int64_param = now_s
        if cancelled:
            reply.parameters[CANCELLED].bool_param = True
        body = reply.SerializeToString()
        await self._sharing.conclude(self._job.ref.model, self._shared, body)
        return now_s

    def _has(self) -> int:
        return self.log.count

    def _follow(self, tokens: bytes, at: int) -> None:
        # Some may have come another way meanwhile: the log takes each token once.
        self._deliver(LogTokens(self._job.id, at, tokens))
