"""Jobs as they travel: into the queue, to a worker, and out again. Values only."""

from dataclasses import astuple, dataclass
from enum import Enum, IntEnum
from operator import add
from typing import NamedTuple

from penstock.errors import Code
from penstock.models.refs import StageRef
from penstock.models.sequencing import SequenceTerms

TRACE = "penstock_trace"
"""A parameter that a gateway adds to a request that is traced (bool). Each stage, and the reply,
carries it on as a JSON list of what every worker on the way adds: `step`, microseconds in its
queue (`queue_us`), and from there to the stage's result (`work_us`)."""

PARTS = "penstock_parts"
"""A parameter (int64) of the end of a reply that came in parts: how many there were."""

ROUTE = "penstock_route"
"""A parameter that a gateway adds to a request for an ensemble: what is still to be done for it,
a serialized `Route`, as base64. Clients may not set it."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A request's place in its sequence.

    Attributes:
        sequence: the correlation id, after "i" for an integer or "s" for a string.
        starts: it is the first request of its sequence.
        ends: it is the last one.
        caller: whose it is; empty for anybody's. Those of two callers are two sequences.
    """

    sequence: str
    starts: bool
    ends: bool
    terms: SequenceTerms
    caller: str = ""

    @property
    def name(self) -> str:
        """The sequence's, among all of its model version."""
        if not self.caller:
            return self.sequence
        return f"{self.sequence[0].upper()}{self.sequence[1:]}@{self.caller}"

    @property
    def flag(self) -> str:
        """The two in one letter, as in lua/lib/sequence.lua."""
        if self.starts:
            return "b" if self.ends else "f"
        return "l" if self.ends else "m"

    @property
    def id(self) -> str:
        """The correlation id as its client wrote it."""
        return self.sequence[1:]


class NewJob(NamedTuple):
    """A request on its way into the queue.

    Attributes:
        gateway: boot id of the gateway that waits for the reply.
        rows: items along the batch dimension; 1 for models without one.
        ttl_ms: milliseconds to the deadline.
        begin_within_ms: milliseconds it may wait before it is begun; 0 for the deadline alone.
        payload: a serialized ModelInferRequest, or a handle of one (`penstock.transport.arena`). A
            view, where a front has it as a part of more, since it may go into an arena from there.
        lent_bytes: of what that handle stands for; 0 without one.
        ensemble: "<model>:<version>" of the ensemble that it is for; empty for other models.
        later: where its other steps run; they are not to vanish meanwhile.
        turn: its place in a sequence; None for models without sequences.
        in_parts: its reply may come in several parts.
        caller: the team whose request it is; empty for anybody's.
    """

    id: str
    gateway: str
    ref: StageRef
    priority: int
    rows: int
    ttl_ms: int
    begin_within_ms: int
    payload: bytes | memoryview
    ensemble: str = ""
    later: tuple[StageRef, ...] = ()
    turn: Turn | None = None
    lent_bytes: int = 0
    in_parts: bool = False
    caller: str = ""

    @property
    def models(self) -> tuple[str, ...]:
        """The models in whose queues it may be, in the order of its way."""
        return (self.ref.model, *(ref.model for ref in self.later))

    def followed_by(self, fields: bytes) -> "NewJob":
        """The same with more *fields*, serialized, behind its payload."""
        return self._replace(payload=b"".join((self.payload, fields)))


class Missing(Enum):
    """Why a worker that has a job does not have its payload."""

    LOST = "the request's data was lost in the queue; send it again"
    OUT_OF_REACH = "the request's data cannot be read from here"


class Lease(NamedTuple):
    """A worker's time-bounded right to a job.

    Attributes:
        remaining_ms: to the deadline, when it was claimed.
        alone: it was in a batch that ended its worker, and must run by itself.
        wait_us: microseconds in queues so far.
        payload: a serialized ModelInferRequest, or a view of one in another process's memory.
    """

    id: str
    token: str
    remaining_ms: int
    rows: int
    attempts: int
    alone: bool
    wait_us: int
    gateway: str
    payload: bytes | memoryview | Missing


@dataclass(frozen=True, slots=True)
class Claim:
    """What a claim gave.

    Attributes:
        wait_us: when there are no leases: microseconds until a batch is due, None if nothing waits.
        does_not_fit: something waits that this worker can take only once it has nothing else.
    """

    leases: list[Lease]
    wait_us: int | None
    does_not_fit: bool = False


@dataclass(frozen=True, slots=True)
class ClaimTerms:
    """How a worker wants its jobs.

    Attributes:
        rows: most rows.
        lease_ms: length of the lease.
        enough_rows: rows worth waiting for.
        batch_delay_us: the longest wait for them, counted from the first job's enqueue.
        preferred: sizes of batches, the least first: one of these waits for no more rows.
        idle: the worker has nothing else, so it may take a job that must run alone.
        guaranteed_turn: 0 for the most urgent jobs first; otherwise its number, and the claim
            begins with a priority level that waits behind others (ADR 0011).
    """

    rows: int
    lease_ms: int
    enough_rows: int = 1
    batch_delay_us: int = 0
    preferred: tuple[int, ...] = ()
    idle: bool = True
    guaranteed_turn: int = 0

    def words(self) -> tuple[int | str, ...]:
        """As the script takes them."""
        return (
            self.rows,
            self.lease_ms,
            self.enough_rows,
            self.batch_delay_us,
            int(self.idle),
            self.guaranteed_turn,
            " ".join(map(str, self.preferred)),
        )


class Timing(NamedTuple):
    """Nanoseconds that one batch took in a stage: copying in, computing, copying out."""

    input_ns: int = 0
    infer_ns: int = 0
    output_ns: int = 0


@dataclass(frozen=True, slots=True)
class Move:
    """A job that goes on to another model's queue.

    Attributes:
        rows: items along that model's batch dimension; 1 for models without one.
        begin_within_ms: milliseconds it may wait there; 0 for the deadline alone.
        payload: a serialized ModelInferRequest.
    """

    job: str
    rows: int
    priority: int
    begin_within_ms: int
    payload: bytes


class Outcome(NamedTuple):
    """How a job ended: a reply (a serialized ModelInferResponse), or a code and its text.

    Attributes:
        state: what the job's sequence goes on with (in the form of
            `SequenceTerms.initial`); None for models without sequences.
    """

    job: str
    code: Code
    message: str
    reply: bytes
    state: bytes | None = None


class Reply(NamedTuple):
    """How a job ended, as its gateway reads it."""

    job: str
    code: Code
    message: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Chunk:
    """One part of a reply that comes in several, which its end follows.

    Attributes:
        index: its place, from 1.
        digest: of what the reply's parts hold, up to and with this one.
        body: a serialized ModelInferResponse.
    """

    job: str
    index: int
    digest: bytes
    body: bytes


class LogTokens(NamedTuple):
    """Entries of an answer's log, on their way to its gateway.

    Attributes:
        at: how many words the log has before them.
        tokens: uint32 each, little endian.
    """

    job: str
    at: int
    tokens: bytes


class Urgency(NamedTuple):
    """How urgent a job is: the less, the more.

    Attributes:
        level: its priority level; 0 where its model has none.
    """

    level: int
    deadline_ms: int


class Held(IntEnum):
    """What became of a lease that a worker wrote about."""

    LOST = 0
    FINE = 1
    CANCELLED = 2


@dataclass(frozen=True, slots=True)
class Reaped:
    """What one reap put right."""

    requeued: int
    dead: int
    expired: int
    retried: int
    orphaned: int

    def __add__(self, more: "Reaped") -> "Reaped":
        return Reaped(*map(add, astuple(self), astuple(more)))
