"""What can go wrong, as facts with fields.

Each error carries the status that its caller sees. ``gateway/failures.py`` is the one table of what
clients are told, and each front turns a `Code` into its protocol's own. An error that is not a
`PenstockError` is a defect: it reaches the client as an id, and its text stays in the log.
"""

from collections.abc import Iterator
from enum import IntEnum


class Code(IntEnum):
    """Status codes with gRPC's numbers, so that they can travel through the queue."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


def forget_frames(error: BaseException | None) -> None:
    """Let go of what *error*, and those it came from, hold through their tracebacks.

    A frame on the way often has the error in one of its variables; together they keep each other,
    and all else that those frames know, a request's payload included, until the garbage collector
    looks at everything there is. To be called where an error ends.
    """
    if error is None or error.__traceback__ is None:
        return
    error.__traceback__ = None
    forget_frames(error.__cause__)
    forget_frames(error.__context__)


def first_line(error: BaseException | None) -> str:
    """The first line of what *error* says; empty where it says nothing."""
    return str(error).strip().split("\n", 1)[0]


def chain_of(error: BaseException) -> Iterator[BaseException]:
    """*error*, what it came from, what that came from and so on, each once.

    Libraries raise causes of errors while they handle these: a chain may lead back into itself.
    """
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__ or one.__context__


class PenstockError(Exception):
    """Something that a caller can understand and act on.

    Attributes:
        code: the status its caller sees.
        retry_after_ms: when a retry makes sense, None when it does not.
    """

    code = Code.INTERNAL
    retry_after_ms: int | None = None


class InvalidRequest(PenstockError):
    """The request cannot be right, whatever the state of the cluster."""

    code = Code.INVALID_ARGUMENT


class Unauthenticated(PenstockError):
    """Nobody knows who calls: there is no credential, or none that is good."""

    code = Code.UNAUTHENTICATED


class PermissionDenied(PenstockError):
    """It is known who calls, and they may not."""

    code = Code.PERMISSION_DENIED


class ModelNotFound(PenstockError):
    """No such model, or no such version of it."""

    code = Code.NOT_FOUND


class ModelNotReady(PenstockError):
    """The version exists, and cannot take requests now."""

    code = Code.UNAVAILABLE
    retry_after_ms = 500


class Unimplemented(PenstockError):
    """Part of the protocol that Penstock does not offer."""

    code = Code.UNIMPLEMENTED


class QueueFull(PenstockError):
    """The queue is at its limit of jobs or bytes."""

    code = Code.UNAVAILABLE
    retry_after_ms = 200


class Overloaded(PenstockError):
    """The queue is too long for the request's deadline."""

    code = Code.RESOURCE_EXHAUSTED


class KeyReused(PenstockError):
    """An idempotency key came with other content than before."""

    code = Code.ALREADY_EXISTS


class OutOfMemory(PenstockError):
    """Redis refused the write because its memory is full."""

    code = Code.RESOURCE_EXHAUSTED
    retry_after_ms = 1000


class StoreUnavailable(PenstockError):
    """Redis cannot be reached at present."""

    code = Code.UNAVAILABLE
    retry_after_ms = 1000


class TurnLost(PenstockError):
    """What became of a request of a sequence cannot be known, so it must not be sent again."""

    code = Code.ABORTED


class StoreRefused(PenstockError):
    """Redis answered a command with an error: a defect of ours, or a server that lacks it."""


class StoreUnsuitable(PenstockError):
    """Redis answers, and cannot be used: too old, or its keyspace is of another kind."""

    code = Code.FAILED_PRECONDITION


class DeadlineExceeded(PenstockError):
    """The deadline passed before the work was done."""

    code = Code.DEADLINE_EXCEEDED


class Cancelled(PenstockError):
    """The caller gave up."""

    code = Code.CANCELLED


class ShuttingDown(PenstockError):
    """The process drains and takes no new requests."""

    code = Code.UNAVAILABLE
    retry_after_ms = 0


class JobFailed(PenstockError):
    """A worker, or the queue, ended the job with this status.

    Attributes:
        code: the status that the job ended with.
    """

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code


class InvalidConfiguration(PenstockError):
    """A setting, a repository or a config.pbtxt that cannot be used; says what to change."""

    code = Code.INVALID_ARGUMENT


class ArtifactUnusable(PenstockError):
    """A shard's file is missing, damaged, or not what the configuration says."""

    code = Code.FAILED_PRECONDITION
