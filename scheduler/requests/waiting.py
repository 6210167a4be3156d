"""One request that waits for its job to end."""

import asyncio
from dataclasses import dataclass

from penstock.models.config.policies import QueueLimits
from penstock.scheduler.jobs.types import NewJob
from penstock.scheduler.requests.job_sink import JobSink
from penstock.scheduler.requests.parts import PartsInOrder
from penstock.scheduler.requests.token_log import TokenLog


@dataclass(slots=True, eq=False)
class Pending:
    """One request that waits.

    Attributes:
        sink: where its job went.
        ends_s: its deadline, on this process's clock.
        ask_s: when its job's state should be asked for next.
        ended_s: when its job was found to have ended, without a reply; None while it has not.
        parts: takes the parts of its reply, or its tokens; None where it comes in one piece.
        due: when it is to be looked at, as `DueTimes` has it.
    """

    job: NewJob
    limits: QueueLimits
    ends_s: float
    ask_s: float
    answer: "asyncio.Future[bytes]"
    sink: JobSink
    parts: PartsInOrder | TokenLog | None = None
    ended_s: float | None = None
    due: int = 0
