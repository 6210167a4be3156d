"""One request that waits, and where its job went."""

import asyncio
from dataclasses import dataclass
from typing import Protocol

from penstock.gateway.delivery.parts import Inbox
from penstock.models.config.policies import QueueLimits
from penstock.scheduler.jobs.enqueue_batches import Answered
from penstock.scheduler.jobs.types import NewJob
from penstock.transport.arena import Loan


class Door(Protocol):
    """Where a request's job goes: the queue, or a reply that it shares with others (sharing.py)."""

    def submit(self, job: NewJob, limits: QueueLimits, answered: Answered, crowd: int = 2) -> None:
        """As `Queue.submit`; again, when it is not known any more, or somebody must lead."""

    async def state(self, model: str, job: str, *later: str) -> str | None:
        """As `Queue.state`."""

    async def cancel(self, model: str, job: str, *later: str) -> None:
        """As `Queue.cancel`."""


@dataclass(slots=True)
class Pending:
    """One request that waits.

    Attributes:
        door: where its job went.
        ends_s: its deadline, on this process's clock.
        ask_s: when its state should be asked for next.
        strikes: how often its job was found to have ended, without a reply.
        inbox: takes the parts of its reply; None where it comes in one piece.
        loan: its payload, while that stays in this process; None where it is in the store.
    """

    job: NewJob
    limits: QueueLimits
    ends_s: float
    ask_s: float
    answer: "asyncio.Future[bytes]"
    door: Door
    strikes: int = 0
    inbox: Inbox | None = None
    loan: Loan | None = None
