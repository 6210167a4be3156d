"""What becomes of jobs: each is settled, passed on or given back, to where it came from."""

from collections.abc import Iterable, Sequence
from typing import Final

from penstock.errors import Code, PenstockError
from penstock.scheduler.jobs.handoff import Destination
from penstock.scheduler.jobs.types import Lease, Move, Outcome, Timing
from penstock.workers.run import encoding
from penstock.workers.run.ensemble_step import EnsembleStep, Tensors
from penstock.workers.run.execution import Failure, Ran, Result
from penstock.workers.run.work import ResultSink, Work
from penstock.workers.serve.queue_sink import QueueSink
from penstock.workers.serve.spec import WorkerSpec

NO_TIME: Final = Timing()


class JobResults:
    """Settles, passes on and gives back the jobs of one worker."""

    def __init__(self, spec: WorkerSpec, queue: QueueSink) -> None:
        self._spec = spec
        self._queue = queue
        self._abandoned: list[Work] = []
        self._no_state = None if spec.states is None else b""

    def finish(self, batch: Sequence[Work], ran: Ran, rows: int = 0) -> None:
        """Settle each job of a batch of *rows* rows, or pass it on."""
        claims: dict[str, list[tuple[Work, Result]]] = {}
        for pair in zip(batch, ran.results, strict=True):
            claims.setdefault(pair[0].lease.token, []).append(pair)
        for token, group in claims.items():
            self._finish_claim(token, group, rows, ran.timing)
            # The batch is counted once, whatever claims its jobs came from.
            rows = 0

    def refuse(self, lease: Lease, error: PenstockError, sink: ResultSink) -> None:
        """End a job that cannot even be read."""
        outcome = Outcome(lease.id, error.code, str(error), b"", self._no_state)
        sink.settle(lease.token, 0, NO_TIME, [outcome])

    def give_back(self, works: Iterable[Work]) -> None:
        """Return jobs that were not begun."""
        claims: dict[str, list[Work]] = {}
        for work in works:
            claims.setdefault(work.lease.token, []).append(work)
        for token, group in claims.items():
            group[0].sink.give_back(token, [work.lease.id for work in group])

    def abandon(self, works: Iterable[Work]) -> None:
        """The device broke while it had *works*, its own until `release_abandoned`.

        That marks them, as a worker's death would.
        """
        self._abandoned += works

    async def release_abandoned(self) -> None:
        """Let others have what is abandoned, each job alone; once all else is written."""
        for sink in dict.fromkeys(work.sink for work in self._abandoned):
            await sink.break_off()

    def _finish_claim(
        self, token: str, group: Sequence[tuple[Work, Result]], rows: int, timing: Timing
    ) -> None:
        outcomes: list[Outcome] = []
        advanced: list[tuple[str, bytes]] = []
        forwarded: dict[Destination, list[Move]] = {}
        for work, result in group:
            step = work.ensemble_step
            if isinstance(result, Failure) or work.revoked:
                outcomes.append(self._failure(work, result))
            elif not self._spec.last:
                advanced.append((work.lease.id, self._next_stage(work, result)))
            elif step is None or step.next_step is None:
                outcomes.append(self._success(work, result))
            else:
                to, move = next_step(work, step, result, self._spec)
                forwarded.setdefault(to, []).append(move)
        for to, moves in forwarded.items():
            self._queue.forward(token, to, rows, timing, moves)
            rows = 0
        if advanced:
            self._queue.advance(token, timing, advanced)
        if outcomes:
            group[0][0].sink.settle(token, rows, timing, outcomes)

    def _failure(self, work: Work, result: Result) -> Outcome:
        if work.revoked or not isinstance(result, Failure):
            return Outcome(work.lease.id, Code.CANCELLED, "", b"", self._no_state)
        failure = in_step(work, result)
        return Outcome(work.lease.id, failure.code, failure.message, b"", self._no_state)

    def _success(self, work: Work, result: Tensors) -> Outcome:
        spec, step = self._spec, work.ensemble_step
        if step is None:
            body = encoding.reply(work, result, spec.keeps, spec.ref.version, spec.hop_name)
        else:
            tensors = step.map_outputs(work.ensemble_tensors, result, work.tensors)
            hop_name = _hop_name(step, spec)
            body = encoding.reply(work, tensors, step.outputs, step.version, hop_name)
        state = None if spec.states is None else encoding.state_after(work, result, spec.states)
        return Outcome(work.lease.id, Code.OK, "", body, state)

    def _next_stage(self, work: Work, result: Tensors) -> bytes:
        spec, step = self._spec, work.ensemble_step
        if step is None:
            return encoding.next_payload(work, result, spec.keeps, spec.hop_name)
        tensors = step.between(work.ensemble_tensors, result, work.tensors, spec.keeps)
        return encoding.next_payload(work, tensors, tuple(tensors), _hop_name(step, spec))


def next_step(
    work: Work, step: EnsembleStep, result: Tensors, spec: WorkerSpec
) -> tuple[Destination, Move]:
    """Where a job queues behind *step* of its ensemble, and how it goes on there with *result*."""
    tensors = step.map_outputs(work.ensemble_tensors, result, work.tensors)
    keeps, hop_name = tuple(step.route_step.keeps), _hop_name(step, spec)
    payload = encoding.next_payload(work, tensors, keeps, hop_name, step.rest_of_route)
    return step.move(work.lease.id, work.head, tensors, payload)


def _hop_name(step: EnsembleStep, spec: WorkerSpec) -> str:
    return f"{step.route_step.model} {spec.hop_name}"


def in_step(work: Work, failure: Failure) -> Failure:
    """*failure* of this worker's model; of a step of an ensemble it names the step."""
    if work.ensemble_step is None:
        return failure
    return Failure(failure.code, work.ensemble_step.reworded(failure.message))
