"""Resumable answers: an answer of a language model that goes on without its gateway (ADR 0046).

It is a shared reply whose log all who wait hear of, and where each begins is their own business.
"""

from collections.abc import Callable

from penstock.gateway.replies.shared import NO_ID, SharedJob, Sharing
from penstock.protos import grpc_service_pb2 as pb
from penstock.scheduler.jobs.shared_replies import Shared
from penstock.scheduler.jobs.types import LogTokens, NewJob
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

    async def conclude(self) -> None:
        """End the answer where it is: its text has come to its end."""
        reply = pb.ModelInferResponse(raw_output_contents=[bytes(self.log.tokens)])
        body = reply.SerializeToString()
        await self._sharing.conclude(self._job.ref.model, self._shared, body)

    def _has(self) -> int:
        return self.log.count

    def _follow(self, tokens: bytes, at: int) -> None:
        # Some may have come another way meanwhile: the log takes each token once.
        self._deliver(LogTokens(self._job.id, at, tokens))
