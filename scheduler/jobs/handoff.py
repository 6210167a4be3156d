"""Handoff: jobs of ensembles on their way from one model's queue to another's.

What ends a step, counts it for its model, and queues the job for the next one, is one script where
both queues are in one partition. Else it takes three: one ends the step and sets the job down as
one that moves, one queues it in the other partition, one forgets it here (ADR 0012). Whoever gets
stuck between them, the reaper carries on; each is idempotent, and in each state the job has one
place from which it can run.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from penstock.models.config.policies import QueueLimits
from penstock.models.refs import StageRef
from penstock.scheduler.jobs.partitions import Partitions
from penstock.scheduler.jobs.payloads import (
    ADVANCED_TTL_MS,
    BESIDE,
    LARGE_BYTES,
    activation_args,
    set_payload_key,
)
from penstock.scheduler.jobs.types import Held, Move, Timing
from penstock.scheduler.store import scripts
from penstock.scheduler.store.conversation import Argument
from penstock.scheduler.store.keys import PartitionKeys, partition_keys
from penstock.scheduler.store.link import Link

STRANDED_MS: Final = 1000
"""A job that has moved for so long has lost whoever carried it."""

_MOST_CARRIED: Final = 32
_ARRIVING_S: Final = 1.0

MOVE: Final = scripts.load("move")
_PENDING_HANDOFFS = scripts.load("pending_handoffs")
_RECEIVE = scripts.load("receive")
_DROP = scripts.load("drop")


class Destination(NamedTuple):
    """The queue of a step's model, and what holds there for jobs of one priority level."""

    ref: StageRef
    limits: QueueLimits


@dataclass(frozen=True, slots=True)
class Step:
    """What a batch was, and where its jobs go.

    Attributes:
        of: the stage whose worker ran it.
        rows: of the batch; 0 when it has been counted.
    """

    of: StageRef
    to: Destination
    rows: int
    timing: Timing


class Handoff(Partitions):
    """Moves jobs between the queues of models."""

    def forward(
        self, token: str, step: Step, moves: Sequence[Move], link: Link | None = None
    ) -> Awaitable[list[Held]]:
        """End a step of jobs, and queue them for the next; says for each what became of it.

        The call is on its way when this returns; its answer may be awaited later.

        Args:
            link: as for `Queue.settle`.
        """
        keys = self.keys_of(step.of.model)
        away = self.keys_of(step.to.ref.model) is not keys
        at_once, link = link is None, link or self.link_to(keys)
        of, to, limits = step.of, step.to.ref, step.to.limits
        words: list[Argument] = [token, to.queue, limits.jobs, limits.payload_bytes, limits.level]
        words += (int(limits.puts_off), f"{of.model}:{of.version}", step.rows, *step.timing)
        words.append(int(away))
        for move in moves:
            words += (move.job, move.rows, move.priority, move.begin_within_ms)
            words += activation_args(link, keys.jobs, move.job, move.payload, token)
        answer = link.call(MOVE, keys.prefix, words, at_once=at_once)
        return self._carried(answer, keys, moves) if away else held_of(answer)

    async def carry_stranded(self, partition: int, *, older_ms: int = STRANDED_MS) -> int:
        """Carry on the jobs of a partition that move, and that nobody carries; returns how many."""
        keys = partition_keys(partition)
        handoffs = await self._pending_handoffs(keys, (), older_ms)
        await self._deliver(keys, handoffs, {})
        return len(handoffs)

    async def _carried(
        self, answer: Awaitable[list[int]], keys: PartitionKeys, moves: Sequence[Move]
    ) -> list[Held]:
        held = await held_of(answer)
        payloads = {
            move.job: move.payload
            for move, one in zip(moves, held, strict=True)
            if one is Held.FINE
        }
        if payloads:
            await self._deliver(keys, await self._pending_handoffs(keys, payloads, 0), payloads)
        return held

    async def _pending_handoffs(
        self, keys: PartitionKeys, ids: "Sequence[str] | dict[str, bytes]", older_ms: int
    ) -> list[list[Any]]:
        return list(await self.call(keys, _PENDING_HANDOFFS, _MOST_CARRIED, older_ms, *ids))

    async def _deliver(
        self, keys: PartitionKeys, handoffs: Sequence[list[Any]], payloads: dict[str, bytes]
    ) -> None:
        """Queue jobs where they are to go, and forget them here.

        Raises:
            StoreUnavailable: some could not be; the others were all the same.
        """
        arrivals = (self._receive(keys, one, payloads) for one in handoffs)
        arrived = await asyncio.gather(*arrivals, return_exceptions=True)
        words: list[Argument] = []
        for handoff, here in zip(handoffs, arrived, strict=True):
            if here is True:
                words += (handoff[0], handoff[1])
        if words:
            await self.call(keys, _DROP, *words)
        for failure in arrived:
            if isinstance(failure, BaseException) and not isinstance(failure, TimeoutError):
                raise failure

    async def _receive(
        self, home: PartitionKeys, handoff: list[Any], payloads: dict[str, bytes]
    ) -> bool:
        """Queue one job; False when its payload was lost on the way, or is.

        Raises:
            TimeoutError: the other server is silent: none waits for it.
        """
        id_, hops, queue, where = (handoff[at].decode() for at in (0, 1, 2, 10))
        keys = self.keys_of(StageRef.of_queue(queue).model)
        link = self.link_to(keys)
        async with asyncio.timeout(_ARRIVING_S):
            payload = payloads.get(id_)
            if payload is None:
                payload = await self._payload(home, id_, where)
            if payload is None:
                # Redis lost it alone; its gateway asks, and queues the request anew.
                return True
            words = [*handoff[:10], "", *handoff[11:], payload]
            if len(payload) >= LARGE_BYTES:
                words[10], words[-1] = f"{BESIDE}:{hops}", b""
                set_payload_key(link, f"{keys.jobs}{id_}{words[10]}", payload, ADVANCED_TTL_MS)
            return bool(await link.call(_RECEIVE, keys.prefix, words))

    async def _payload(self, keys: PartitionKeys, id_: str, where: str) -> bytes | None:
        job = keys.jobs + id_
        words = ("GET", job + where) if where else ("HGET", job, "payload")
        found: bytes | None = await self.link_to(keys).command(*words)
        return found


async def held_of(answer: Awaitable[list[int]]) -> list[Held]:
    """What a script answered of each job, once it has."""
    return [Held(value) for value in await answer]
