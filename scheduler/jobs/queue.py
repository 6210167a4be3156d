"""The queue: what the Lua scripts do, with types around it.

A job moves enqueue -> claim -> (advance -> claim)* -> settle; cancel, nack and reap are the other
ways on. Each call is one script, atomic and idempotent by job id, token or nonce. Statistics are
counted in the same scripts that make them true.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Iterator, Sequence
from functools import partial
from itertools import chain, groupby
from typing import Any, Final

from penstock.errors import OutOfMemory
from penstock.models.config.policies import QueueLimits
from penstock.models.refs import StageRef
from penstock.scheduler.jobs.enqueue import enqueue
from penstock.scheduler.jobs.enqueue_batches import (
    Answered,
    BatchKey,
    EnqueueBatcher,
    Entry,
    put_apart,
)
from penstock.scheduler.jobs.handoff import MOVE, Handoff, held_of
from penstock.scheduler.jobs.partitions import Partitions
from penstock.scheduler.jobs.payloads import activation_args, with_payloads
from penstock.scheduler.jobs.types import (
    Claim,
    ClaimTerms,
    Held,
    Lease,
    NewJob,
    Outcome,
    Reaped,
    Timing,
    Urgency,
)
from penstock.scheduler.store import scripts
from penstock.scheduler.store.conversation import Argument
from penstock.scheduler.store.keys import PartitionKeys, partition_keys, partition_of
from penstock.scheduler.store.keyspace import open_keyspace
from penstock.scheduler.store.link import Link, Links
from penstock.transport.arena import ArenaReader, is_handle

_CLAIM = scripts.load("claim")
_RENEW = scripts.load("renew")
_SETTLE = scripts.load("settle")
_CANCEL = scripts.load("cancel")
_NACK = scripts.load("nack")
_REAP = scripts.load("reap")
_URGENCIES = scripts.load("urgencies")
_STATE = scripts.load("state")

_GONE = 1
_MOVED = "moved"
_MOST_REAPED: Final = 100

GATEWAY_MS: Final = 10_000
"""A gateway that was silent for so long is gone."""

BELL_WAIT_S = 1
"""How long a worker sleeps on the bell before it looks anyway."""

_LONG_BELL_WAIT_S = 3
_RESTING_BELL_WAIT_S = 30
_LONG_AFTER, _RESTS_AFTER = 20, 26
"""Looks that gave nothing: some 20, and some 40 seconds without a job."""


def bell_wait_s(empty_claims: int) -> int:
    """How long a worker sleeps whose last *empty_claims* gave nothing.

    Most of hundreds of workers have nothing to do.
    """
    if empty_claims < _LONG_AFTER:
        return BELL_WAIT_S
    return _LONG_BELL_WAIT_S if empty_claims < _RESTS_AFTER else _RESTING_BELL_WAIT_S


class Queue(Partitions):
    """All queues of one keyspace."""

    def __init__(self, links: Links, partitions: int) -> None:
        super().__init__(links, partitions)
        self.steps = Handoff(links, partitions)
        self._batcher = EnqueueBatcher(self.put)
        self._arenas = ArenaReader()

    async def enqueue(self, job: NewJob, limits: QueueLimits) -> str | None:
        """Accept *job* once; None when it is new, else the state of the job that has its id.

        Raises:
            QueueFull: the limits are reached; nothing was kept.
            OutOfMemory: Redis is full; nothing was kept.
            StoreUnavailable: Redis cannot be reached; it may or may not have been accepted.
        """
        answer: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()

        def answered(outcome: str | Exception | None) -> None:
            if answer.done():
                return
            if isinstance(outcome, Exception):
                answer.set_exception(outcome)
            else:
                answer.set_result(outcome)

        self.submit(job, limits, answered)
        return await answer

    def submit(
        self, job: NewJob, limits: QueueLimits, answered: Answered, in_flight: int = 2
    ) -> None:
        """As `enqueue`, without waiting: *answered* gets what it would return or raise.

        Jobs that go into one queue travel together (enqueue_batches.py). One that is alone leaves
        before this returns.

        Args:
            in_flight: how many of the queue's jobs the caller waits for, this one included.
        """
        self._batcher.add(job, limits, answered, in_flight)

    def put(self, batch: BatchKey, entries: list[Entry]) -> None:
        """As `submit`, for jobs that have been gathered."""
        keys = self.keys_of(batch.ref.model)
        put_apart(partial(enqueue, self.link_to(keys), keys), batch, entries)

    async def claim(
        self,
        ref: StageRef,
        worker: str,
        nonce: str,
        terms: ClaimTerms,
        link: Link,
        sleep_s: int = BELL_WAIT_S,
    ) -> Claim:
        """Take up to so many rows of jobs, most urgent first; sleeps on the bell until it rings.

        The jobs belong to the worker until their lease ends; nobody else can see them. The same
        *nonce* again gives the same jobs.

        Args:
            worker: the worker's boot id.
            link: a link of the worker's own, since the call blocks it.
            sleep_s: it sleeps so long at most.
        """
        keys = self.keys_of(ref.model)
        bell = keys.bells + ref.queue
        link.may_block(sleep_s)
        # In one write: the claim runs in the server as soon as the bell rings, or is overdue.
        link.submit("BLPOP", f"{bell}@{worker}", bell, sleep_s)
        return await self.claim_now(ref, worker, nonce, terms, link)

    async def claim_now(
        self, ref: StageRef, worker: str, nonce: str, terms: ClaimTerms, link: Link | None = None
    ) -> Claim:
        """As `claim`, without sleeping."""
        keys = self.keys_of(ref.model)
        token = f"{worker}.{nonce}"
        link = link or self.link_to(keys)
        words = (token, ref.queue, *terms.words())
        answer = await link.call(_CLAIM, keys.prefix, words, at_once=True)
        wait_us = int(answer[0])
        leases = [_lease(token, fields) for fields in answer[1:]]
        places = [fields[8] for fields in answer[1:]]
        if any(places) or any(is_handle(one.payload) for one in leases):
            leases = await with_payloads(link, keys.jobs, leases, places, self._arenas)
        return Claim(leases, None if wait_us < 0 else wait_us, does_not_fit=wait_us == -2)

    async def urgencies(
        self, ref: StageRef, jobs: Sequence[str]
    ) -> tuple[Urgency | None, list[Urgency | None]]:
        """How urgent the job is that waits first, and each of *jobs* that somebody has."""
        answer = await self.call(self.keys_of(ref.model), _URGENCIES, ref.queue, *jobs)
        waiting, *held = (Urgency(int(one[0]), int(one[1])) if one else None for one in answer)
        return waiting, held

    async def wake(self, ref: StageRef, worker: str) -> None:
        """End the sleep of one worker's `claim`."""
        keys = self.keys_of(ref.model)
        bell, link = f"{keys.bells}{ref.queue}@{worker}", self.link_to(keys)
        rung = link.submit("RPUSH", bell, "1")
        await link.command("PEXPIRE", bell, 1000 * BELL_WAIT_S)
        # A full server takes no ring; the sleep ends by itself.
        with contextlib.suppress(OutOfMemory):
            await rung

    async def renew(self, model: str, held: Sequence[tuple[str, str]], lease_ms: int) -> list[Held]:
        """Lengthen leases, given as (job id, token); says for each what became of it."""
        words = chain.from_iterable(held)
        return await held_of(self.call(self.keys_of(model), _RENEW, lease_ms, *words))

    def advance(
        self, token: str, to: StageRef, timing: Timing, jobs: Sequence[tuple[str, bytes]]
    ) -> Awaitable[list[Held]]:
        """End a stage of *jobs*, given as (id, next payload), and queue them for the stage *to*.

        The call is on its way when this returns; its answer may be awaited later.
        """
        keys = self.keys_of(to.model)
        link = self.link_to(keys)
        words: list[Argument] = [token, to.queue, 0, 0, 0, 0, "", 0, *timing, 0]
        for id_, payload in jobs:
            words += (id_, "", "", 0, *activation_args(link, keys.jobs, id_, payload, token))
        return held_of(link.call(MOVE, keys.prefix, words, at_once=True))

    def settle(
        self,
        token: str,
        ref: StageRef,
        rows: int,
        timing: Timing,
        outcomes: Sequence[Outcome],
        link: Link | None = None,
    ) -> Awaitable[list[Held]]:
        """End jobs of one batch of *rows* rows, each exactly once and each on its own.

        What a job made of its sequence's state is kept in the same step.

        The call is on its way when this returns; its answer may be awaited later.

        Args:
            link: one that is not blocked; the call leaves with what is sent there next, or at
                the end of the event-loop turn.
        """
        keys = self.keys_of(ref.model)
        words: list[Argument] = [token, f"{ref.model}:{ref.version}", rows, *timing]
        for one in outcomes:
            words += (one.job, int(one.code), one.message, one.reply, one.state or b"")
        at_once, link = link is None, link or self.link_to(keys)
        return held_of(link.call(_SETTLE, keys.prefix, words, at_once=at_once))

    async def cancel(self, model: str, job: str, *later: str) -> None:
        """The client is gone: a waiting job leaves the queue, a leased one is marked.

        Args:
            later: models in whose queues the job may be by now, in the order of its way.
        """
        if self._batcher.remove(job):
            return
        for keys in self.along((model, *later)):
            if await self.call(keys, _CANCEL, job) == _GONE:
                return

    def along(self, models: Sequence[str]) -> Iterator[PartitionKeys]:
        """The partitions of *models*, in order; the same one twice in a row is one.

        A job only moves on: who asks for it in this order meets it, wherever it is.
        """
        return (keys for keys, _ in groupby(map(self.keys_of, models)))

    async def state(self, model: str, job: str, *later: str) -> str | None:
        """The job's state, that of one which ended lately too; None when Redis does not know it.

        A job that still waits rings again.

        Args:
            later: as for `cancel`.
        """
        for keys in self.along((model, *later)):
            answer: bytes | None = await self.call(keys, _STATE, job)
            state = None if answer is None else answer.decode().partition(" ")[0]
            if state not in (None, _MOVED):
                return state
        return None

    def give_back(self, model: str, token: str, jobs: Sequence[str]) -> Awaitable[list[Held]]:
        """Return leased jobs that were not begun; it does not count as an attempt."""
        return held_of(self.call(self.keys_of(model), _NACK, token, "unbegun", 0, 0, "", *jobs))

    def retry(
        self, model: str, token: str, jobs: Sequence[str], *, delay_ms: int, most: int, why: str
    ) -> Awaitable[list[Held]]:
        """Return jobs for another try after *delay_ms*; the last of *most* attempts fails them."""
        how = ("again", delay_ms, most, why)
        return held_of(self.call(self.keys_of(model), _NACK, token, *how, *jobs))

    async def reap(
        self,
        partition: int,
        *,
        most: int = _MOST_REAPED,
        gateway_ms: int = GATEWAY_MS,
        died: str = "",
    ) -> Reaped:
        """Put right what time has overtaken in one partition; call it four times a second.

        Whoever comes first after a silence gives all a grace, before leases and gateways are over.

        Args:
            most: jobs of each kind in this call; call again while it finds so many.
            gateway_ms: a gateway silent for this long is gone.
            died: boot id of a worker known to be dead, and "."; its leases end now.
        """
        reaped, _ = await self._reap(partition, most, gateway_ms, died, b"0")
        return reaped

    async def _reap(
        self, partition: int, most: int, gateway_ms: int, died: str, cursor: bytes
    ) -> tuple[Reaped, bytes]:
        words = (most, gateway_ms, died, cursor)
        *counts, onward = await self.call(partition_keys(partition), _REAP, *words)
        return Reaped(*counts), onward

    async def release_leases_of(self, model: str, boot_id: str) -> Reaped:
        """A worker's process is known to have ended: others get its jobs now."""
        partition, died = partition_of(model, self.partitions), f"{boot_id}."
        found, cursor = await self._reap(partition, _MOST_REAPED, GATEWAY_MS, died, b"0")
        while cursor != b"0":
            more, cursor = await self._reap(partition, _MOST_REAPED, GATEWAY_MS, died, cursor)
            found += more
        return found


async def open_queue(links: Links, partitions: int | None = None) -> Queue:
    """The queue of the keyspace behind *links*; arguments and errors as for `open_keyspace`."""
    return Queue(links, await open_keyspace(links, partitions))


def _lease(token: str, fields: list[Any]) -> Lease:
    job, remaining_ms, rows, attempts, alone, wait_us, gateway, payload, _ = fields
    return Lease(
        job.decode(),
        token,
        remaining_ms,
        rows,
        attempts,
        alone == 1,
        wait_us,
        gateway.decode(),
        payload or b"",
    )
