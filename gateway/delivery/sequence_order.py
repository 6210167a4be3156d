"""Sequence order: the requests of one sequence enter the queue one behind the other.

Each is sent when the one before it is known to have been accepted. So a client that does not wait
for answers has its requests in their order, also when Redis goes away in the middle and they are
sent again.
"""

from collections.abc import Callable

from penstock.errors import StoreUnavailable
from penstock.models.config.policies import QueueLimits
from penstock.scheduler.jobs.queue import Queue
from penstock.scheduler.jobs.types import NewJob
from penstock.scheduler.requests.job_sink import OnOutcome

_Sequence = tuple[str, int, str]


class SequenceOrder:
    """The requests of one gateway that have not been accepted yet, by sequence."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._sequences: dict[_Sequence, dict[str, Callable[[], None]]] = {}

    def __len__(self) -> int:
        """Sequences of which a request is on its way."""
        return len(self._sequences)

    def submit(self, job: NewJob, limits: QueueLimits, on_outcome: OnOutcome) -> None:
        """As `Queue.submit`, once all jobs that came before have left; the first may come again."""

        def entered(outcome: str | Exception | None) -> None:
            on_outcome(outcome)
            if not isinstance(outcome, StoreUnavailable):
                self.leave(job)

        def send() -> None:
            # Those behind it wait for it: there is nobody to wait for.
            try:
                self._queue.submit(job, limits, entered, len(self))
            except Exception as error:  # noqa: BLE001 - whoever left before it may have called
                entered(error)

        sends = self._sequences.setdefault(_sequence_of(job), {})
        sends[job.id] = send
        if next(iter(sends)) == job.id:
            send()

    def leave(self, job: NewJob) -> None:
        """It was accepted, refused or given up; the next one is sent."""
        sequence = _sequence_of(job)
        sends = self._sequences.get(sequence, {})
        was_first = next(iter(sends), None) == job.id
        sends.pop(job.id, None)
        if not sends:
            self._sequences.pop(sequence, None)
        elif was_first:
            next(iter(sends.values()))()


def _sequence_of(job: NewJob) -> _Sequence:
    if job.turn is None:
        raise AssertionError("only jobs of sequences have turns")
    return job.ref.model, job.ref.version, job.turn.name
