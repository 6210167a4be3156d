"""Resumable answers: an answer of a language model that goes on without its gateway (ADR 0046).

It is a shared reply whose log all who wait hear of, and where each begins is their own business.
"""

import asyncio
import time
from collections.abc import Callable

from penstock.gateway.replies.shared import NO_ID, SharedJob, Sharing
from penstock.language.payload import CANCELLED, ENDED
from penstock.protos import grpc_service_pb2 as pb
from penstock.scheduler.jobs.shared_replies import Follow, Joined, Lead, Shared
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
        reply, now_s = _reply_with(bytes(self.log.tokens))
        await self._keep(reply)
        return now_s

    async def give_up(self) -> None:
        """End the answer where it is, unless it has ended: its client wants no more of it.

        Raises:
            StoreUnavailable: nobody knows whether it has.
        """
        while not isinstance(found := await self._found(), Reply):
            tokens = found.tokens if isinstance(found, Follow) else None
            reply, _ = _reply_with(tokens or b"")
            reply.parameters[CANCELLED].bool_param = True
            # With all that anybody has seen of it: it may have grown meanwhile.
            if await self._keep(reply, None if tokens is None else len(tokens)):
                return

    async def _found(self) -> Lead | Follow | Reply | None:
        """What there is of the answer, all of its log included."""
        found: asyncio.Future[Joined] = asyncio.get_running_loop().create_future()

        def joined(outcome: Joined) -> None:
            if not found.done():
                found.set_result(outcome)

        self._sharing.look_up(self._shared, self._job, self._waiter(has=0), joined)
        outcome = await found
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def _keep(self, reply: pb.ModelInferResponse, log_bytes: int | None = None) -> bool:
        model, body = self._job.ref.model, reply.SerializeToString()
        return await self._sharing.conclude(model, self._shared, body, log_bytes)

    def _has(self) -> int:
        return self.log.count

    def _follow(self, tokens: bytes, at: int) -> None:
        # Some may have come another way meanwhile: the log takes each token once.
        self._deliver(LogTokens(self._job.id, at, tokens))


def _reply_with(tokens: bytes) -> tuple[pb.ModelInferResponse, int]:
    """A reply that ends now, and when that is, in seconds since 1970."""
    reply, now_s = pb.ModelInferResponse(raw_output_contents=[tokens]), int(time.time())
    reply.parameters[ENDED].int64_param = now_s
    return reply, now_s
