"""Shared replies: several requests have the reply of one job, and later ones while it is kept.

Three kinds of requests share: those of a model with a response cache, by their content, those with
an idempotency key, by the key, and those for an answer of a language model that outlives its
gateway, by its name. A request *joins* the shared reply of its name: it has the
reply, or waits for it, or leads and enqueues the job, under an id that the join gave it. The job
belongs to the shared reply instead of a gateway, so it outlives them all; whatever ends it tells
every waiter, and keeps the reply (lua/lib/share.lua).

Nothing is held locked: a waiter asks again from time to time, and when the leader went before
its job came, whoever asks next leads, with the same job.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from penstock.errors import Code, KeyReused, OutOfMemory
from penstock.models.refs import StageRef, suffix
from penstock.scheduler.jobs.queue import Queue
from penstock.scheduler.jobs.types import Reply
from penstock.scheduler.store import scripts
from penstock.scheduler.store.conversation import Argument

_JOIN = scripts.load("join")
_LEAVE = scripts.load("leave")
_CONCLUDE = scripts.load("conclude")
_GROWN = 2
"""As conclude.lua says it."""


class Kind(StrEnum):
    """What a shared reply is kept for."""

    CACHE = "cache"
    KEY = "key"
    ANSWER = "answer"


@dataclass(frozen=True, slots=True)
class Shared:
    """A shared reply, as one request asks for it.

    Attributes:
        name: of those of its kind and model.
        digest: of the content that it must be the reply to.
        keep_ms: how long it is kept; from its last use, if it is cached.
        most_bytes: that all kept ones of its kind may have in its partition.
        away_ms: an answer goes on for so long while nobody waits for it; 0 for any time.
    """

    kind: Kind
    name: str
    digest: str
    keep_ms: int
    most_bytes: int
    away_ms: int = 0

    @property
    def owner(self) -> str:
        """What owns its job, which has it in its gateway's place."""
        return f"~{self.kind}/{self.name}"


def cached(ref: StageRef, digest: str, keep_ms: int, most_bytes: int, caller: str = "") -> Shared:
    """The cached reply to a content; another one for each content of the model version."""
    name = f"{_of(caller)}{ref.model}:{ref.version}{suffix(ref.revision_id)}/{digest}"
    return Shared(Kind.CACHE, name, digest, keep_ms, most_bytes)


def keyed(
    model: str, key: str, digest: str, keep_ms: int, most_bytes: int, caller: str = ""
) -> Shared:
    """The reply that an idempotency key stands for; keys of different models differ."""
    return Shared(Kind.KEY, f"{_of(caller)}{model}/{key}", digest, keep_ms, most_bytes)


def answer_named(
    model: str, name: str, digest: str, keep_ms: int, most_bytes: int, away_ms: int, caller: str
) -> Shared:
    """The answer of that name; those of different models and callers differ."""
    owner = f"{_of(caller)}{model}/{name}"
    return Shared(Kind.ANSWER, owner, digest, keep_ms, most_bytes, away_ms)


def _of(caller: str) -> str:
    """How the names of what is *caller*'s begin: no model's name begins with a slash."""
    return f"/{caller}/" if caller else ""


@dataclass(frozen=True, slots=True)
class Waiter:
    """A request that joins.

    Attributes:
        gateway: boot id of the gateway that is to be told.
        ttl_ms: milliseconds to its deadline.
        waits: it was told to wait, or to lead, and asks again.
        has: tokens of the answer's log that it has.
    """

    id: str
    gateway: str
    ttl_ms: int
    waits: bool = False
    has: int = 0


class Lead(NamedTuple):
    """Enqueue the job, under this id, with the shared reply as its owner."""

    job: str


class Follow(NamedTuple):
    """Wait for an answer whose log goes on with *tokens*, behind those that the waiter has."""

    tokens: bytes


class Spent(NamedTuple):
    """Nanoseconds that look-ups took which have not been told yet, by how they ended."""

    hits_ns: int = 0
    misses_ns: int = 0


Joined = Lead | Follow | Reply | Exception | None
"""What joining came to: lead, have the reply, or wait (None, or the log of an answer so far)."""


class SharedReplies:
    """All shared replies of one keyspace."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    def join(
        self,
        ref: StageRef,
        shared: Shared,
        waiter: Waiter,
        new_job: str,
        on_reply: Callable[[Joined], None],
        spent: Spent = Spent(),  # noqa: B008 - immutable
    ) -> None:
        """Take part in *shared*; *on_reply* gets what that came to.

        A waiter hears of the end as a `Reply` to its id in its gateway's stream; the code ABORTED
        there asks it to join again.

        Args:
            new_job: id for the job, if this request is the first.

        Errors that *on_reply* may get:
            KeyReused: the key stands for other content.
            OutOfMemory: no more keys can be kept, or Redis is full.
            StoreUnavailable: Redis cannot be reached; the waiter may or may not be known there.
        """
        link, keys = self._queue.link_of(ref.model), self._queue.keys_of(ref.model)
        words: list[Argument] = [shared.owner, shared.digest, waiter.id, waiter.gateway, new_job]
        words += (waiter.ttl_ms, shared.keep_ms, shared.most_bytes, *spent)
        words += (f"{ref.model}:{ref.version}", int(waiter.waits), waiter.has, shared.away_ms)
        link.start(_JOIN, keys.prefix, words, lambda answer: on_reply(_joined(answer, waiter.id)))

    def leave(self, ref: StageRef, shared: Shared, waiter: str) -> "asyncio.Future[bytes]":
        """Wait no more; the call is on its way when this returns.

        Its answer is the job that nobody wants any more, to be cancelled; empty for none.
        """
        return self._queue.call(self._queue.keys_of(ref.model), _LEAVE, shared.owner, waiter)

    async def conclude(
        self, model: str, shared: Shared, body: bytes, log_bytes: int | None = None
    ) -> bool:
        """End an answer with *body*, a serialized ModelInferResponse, before its job ends.

        Returns False, and does nothing, where its log has not as many as *log_bytes* by now.
        """
        words = (shared.owner, body, "" if log_bytes is None else log_bytes)
        found = await self._queue.call(self._queue.keys_of(model), _CONCLUDE, *words)
        return int(found) != _GROWN

    async def keep_request(
        self, model: str, shared: Shared, request: bytes, life_ms: int
    ) -> bytes | None:
        """Keep *request* as that of an answer, unless there is one; the one that there was."""
        key = self._queue.keys_of(model).requests + shared.owner
        words = ("SET", key, request, "NX", "GET", "PX", life_ms)
        found: bytes | None = await self._queue.link_of(model).command(*words)
        return found

    async def request_of(self, model: str, shared: Shared) -> bytes | None:
        """The request of an answer, as `keep_request` has kept it; None where there is none."""
        key = self._queue.keys_of(model).requests + shared.owner
        found: bytes | None = await self._queue.link_of(model).command("GET", key)
        return found


def _joined(answer: list[bytes] | Exception, waiter: str) -> Joined:
    match answer:
        case [b"done", code, message, body]:
            return Reply(waiter, Code(int(code)), message.decode(), body)
        case [b"lead", job]:
            return Lead(job.decode())
        case [b"follow", tokens] if tokens:
            return Follow(tokens)
        case [b"other", *_]:
            return KeyReused(
                "the idempotency key was used for a request with other content: "
                "each request needs a key of its own"
            )
        case [b"full", *_]:
            return OutOfMemory(
                "no more replies to idempotency keys, and no more answers that may be resumed, can "
                "be kept (--idempotency-bytes); try again later"
            )
        case _:
            return answer if isinstance(answer, Exception) else None
