"""Where jobs go: one interface of the queue, shared replies and retried dead letters."""

from collections.abc import Callable
from enum import Enum, auto
from typing import Protocol

from penstock.errors import Code
from penstock.models.config.policies import QueueLimits
from penstock.scheduler.jobs.types import NewJob, Reply

OnOutcome = Callable[[Reply | str | Exception | None], None]
"""Gets what `Queue.enqueue` returns or raises, or the job's end where its sink has that already."""


class Retry(Enum):
    """How a request goes on whose job failed."""

    SAME_JOB = auto()
    NEW_JOB = auto()


class JobSink(Protocol):
    """What takes the jobs of requests, and answers for them until nobody waits any more."""

    def submit(
        self, job: NewJob, limits: QueueLimits, on_outcome: OnOutcome, in_flight: int = 2
    ) -> None:
        """Take *job*; the same one may come again when it was lost.

        Args:
            in_flight: jobs of its stage that the gateway waits for, this one included.
        """

    async def state(self, model: str, job: str, *later: str) -> str | None:
        """As `Queue.state`."""

    async def cancel(self, model: str, job: str, *later: str) -> None:
        """As `Queue.cancel`."""

    def release(self, job: NewJob) -> None:
        """Drop what is kept for *job*: however it ended, nobody waits for it any more."""

    def retry_after(self, job: NewJob, code: Code) -> Retry | None:
        """How to submit *job* once more after it failed with *code*; None where that is its end."""
        del job, code
        return None
