"""Dead letters as operators see them: what was set aside, and one more try."""

from dataclasses import dataclass

from penstock.clock import bounded_ms, monotonic
from penstock.errors import Code, PenstockError
from penstock.gateway.delivery.delivery import Delivery
from penstock.gateway.models.catalog import Catalog
from penstock.gateway.operations.auditing import Auditing
from penstock.models.config.policies import QueueLimits
from penstock.models.refs import StageRef
from penstock.protos import cluster_pb2 as pb
from penstock.protos.grpc_service_pb2 import ModelInferRequest
from penstock.scheduler.jobs.dead_letters import Letter, Letters
from penstock.scheduler.jobs.types import NewJob
from penstock.scheduler.requests.job_sink import JobSink, OnOutcome, Retry

_NO_LIMITS = QueueLimits()


class NoLetter(PenstockError):
    """No dead letter is about this job."""

    code = Code.NOT_FOUND

    def __init__(self, job: str) -> None:
        super().__init__(
            f"there is no dead letter of job '{job}'; 'penstock jobs dead ls' lists those there are"
        )
        self.job = job


class ContentReplaced(PenstockError):
    """The job died in a later stage of a revision that is no longer served."""

    code = Code.FAILED_PRECONDITION

    def __init__(self, letter: Letter) -> None:
        super().__init__(
            f"job {letter.job} was set aside in stage {letter.ref.stage} of a revision of "
            f"'{letter.ref.model}' version {letter.ref.version} that has been replaced since, and "
            "what it carries are that revision's tensors; send the request again"
        )


class RetryNeedsStream(PenstockError):
    """The job was for a model whose responses nobody would be there to take."""

    code = Code.FAILED_PRECONDITION

    def __init__(self, letter: Letter) -> None:
        super().__init__(
            f"'{letter.ref.model}' is decoupled: any number of responses would come to job "
            f"{letter.job}, and only a stream carries them; send the request again"
        )


class RetriedLetter(JobSink):
    """A dead letter's job, which goes into the queue in the letter's place."""

    def __init__(self, letters: Letters, letter: Letter, sink: JobSink) -> None:
        """*sink*: where the job goes when it was lost from there."""
        self._letters = letters
        self._letter: Letter | None = letter
        self._sink = sink

    def submit(
        self, job: NewJob, limits: QueueLimits, on_outcome: OnOutcome, in_flight: int = 2
    ) -> None:
        """As `Letters.retry` the first time."""
        letter, self._letter = self._letter, None
        if letter is None:
            self._sink.submit(job, limits, on_outcome, in_flight)
        else:
            self._letters.retry(letter, job, on_outcome)

    async def state(self, model: str, job: str, *later: str) -> str | None:
        """As `Queue.state`."""
        return await self._sink.state(model, job, *later)

    async def cancel(self, model: str, job: str, *later: str) -> None:
        """As `Queue.cancel`."""
        await self._sink.cancel(model, job, *later)

    def release(self, job: NewJob) -> None:
        """As `JobSink.release`."""
        self._sink.release(job)

    def retry_after(self, job: NewJob, code: Code) -> Retry | None:
        """As `JobSink.retry_after`."""
        return self._sink.retry_after(job, code)


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """Lists dead letters, and retries them on behalf of whoever asks."""

    _letters: Letters
    _catalog: Catalog
    _delivery: Delivery
    _gateway: str
    auditing: Auditing

    async def listed(self, request: pb.DeadLettersRequest) -> pb.DeadLettersResponse:
        """Those of a model, or of all; one job's with its inputs.

        Raises:
            NoLetter: one job was asked for, and there is none of it.
        """
        if not request.job:
            found = await self._letters.listed(request.model)
            return pb.DeadLettersResponse(letters=[_message(letter) for letter in found])
        letter = await self._of_job(request.job)
        message = _message(letter)
        payload = await self._letters.payload(letter)
        if payload is not None:
            carried = ModelInferRequest.FromString(payload)
            message.request_id = carried.id
            message.inputs.extend(
                pb.TensorSpec(name=one.name, datatype=one.datatype, shape=one.shape)
                for one in carried.inputs
            )
        return pb.DeadLettersResponse(letters=[message])

    async def retry(self, job: str, remaining_s: float) -> pb.RetryDeadLetterResponse:
        """Run the letter's job once more, alone, and wait for its reply.

        The job is a new one: its first caller has had an error. It runs on the version's present
        revision, which may be the one that does better.

        Raises:
            NoLetter, LetterGone, ContentReplaced, RetryNeedsStream: it cannot be retried.
            PenstockError: how it ended; the letter is still there, or a new one in its place.
        """
        letter = await self._of_job(job)
        again = NewJob(
            id=self._delivery.pending.next_id(),
            gateway=self._gateway,
            ref=self._ref(letter),
            priority=0,
            rows=letter.rows,
            ttl_ms=bounded_ms(remaining_s),
            begin_within_ms=0,
            payload=await self._letters.payload(letter) or b"",
        )

        began_s = monotonic()
        sink = RetriedLetter(self._letters, letter, self._delivery.router)
        reply = await self._delivery.pending.answer_to(again, _NO_LIMITS, sink)
        took_ms = int((monotonic() - began_s) * 1000)
        await self._letters.forget(letter)
        return pb.RetryDeadLetterResponse(reply=reply, job=again.id, took_ms=took_ms)

    def _ref(self, letter: Letter) -> StageRef:
        served = self._catalog.served(letter.ref.model, str(letter.ref.version))
        if served.decoupled:
            raise RetryNeedsStream(letter)
        present = served.ref
        if letter.ref.stage > 0 and letter.ref.revision_id != present.revision_id:
            raise ContentReplaced(letter)
        return present._replace(stage=letter.ref.stage)

    async def _of_job(self, job: str) -> Letter:
        for letter in await self._letters.listed():
            if letter.job == job:
                return letter
        raise NoLetter(job)


def _message(letter: Letter) -> pb.DeadLetter:
    return pb.DeadLetter(
        job=letter.job,
        model=letter.ref.model,
        version=letter.ref.version,
        stage=letter.ref.stage,
        revision_id=letter.ref.revision_id,
        worker=letter.worker.partition(".")[0],
        crashes=letter.crashes,
        accepted_ms=letter.accepted_ms,
        time_ms=letter.time_ms,
        payload_bytes=letter.payload_bytes,
    )
