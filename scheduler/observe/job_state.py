"""Reading the queues: what waits, what became of a job, what was counted. Nothing changes by it."""

import asyncio
from collections.abc import Iterator, Sequence
from itertools import groupby

from penstock.scheduler.jobs.types import Depth
from penstock.scheduler.observe.counters import counters_of, summed
from penstock.scheduler.store import scripts
from penstock.scheduler.store.keys import PartitionKeys, StageRef, partition_keys, partition_of
from penstock.scheduler.store.link import Link, Links

_DEPTHS = scripts.load("depths")

_MOVED = "moved"


class QueueReader:
    """All queues of one keyspace, to be looked at."""

    def __init__(self, links: Links, partitions: int) -> None:
        self._links = links
        self.partitions = partitions

    def keys_of(self, model: str) -> PartitionKeys:
        """The keys of the partition that holds the model's jobs."""
        return partition_keys(partition_of(model, self.partitions))

    def link_of(self, model: str) -> Link:
        """The shared link to that partition."""
        return self._links.to(self.keys_of(model).tag)

    def along(self, models: Sequence[str]) -> Iterator[PartitionKeys]:
        """The partitions of *models*, in order; the same one twice in a row is one.

        A job only moves on: who asks for it in this order meets it, wherever it is.
        """
        partitions = (partition_of(model, self.partitions) for model in models)
        return (partition_keys(partition) for partition, _ in groupby(partitions))

    async def state(self, model: str, job: str, *later: str) -> str | None:
        """The job's state, that of one which ended lately too; None when Redis does not know it.

        Args:
            later: as for `cancel`.
        """
        for keys in self.along((model, *later)):
            state = await self._state(keys, job)
            if state not in (None, _MOVED):
                return state
        return None

    async def _state(self, keys: PartitionKeys, job: str) -> str | None:
        link = self._links.to(keys.tag)
        live, ended = link.submit("HGET", keys.jobs + job, "state"), keys.ended + job
        mark = await link.command("GET", ended)
        state = await live
        if state is not None:
            return str(state.decode())
        return None if mark is None else str(mark.decode().partition(" ")[0])

    async def depths(self, refs: Sequence[StageRef]) -> dict[StageRef, Depth]:
        """How much waits for each of these stages."""
        by_partition: dict[int, list[StageRef]] = {}
        for ref in refs:
            by_partition.setdefault(partition_of(ref.model, self.partitions), []).append(ref)
        found = await asyncio.gather(*(self._depths(p, group) for p, group in by_partition.items()))
        return {ref: depth for group in found for ref, depth in group.items()}

    async def _depths(self, partition: int, refs: Sequence[StageRef]) -> dict[StageRef, Depth]:
        keys = partition_keys(partition)
        answer = await self._links.to(keys.tag).call(
            _DEPTHS, keys.prefix, [ref.queue for ref in refs]
        )
        pairs = zip(answer[::2], answer[1::2], strict=True)
        return {ref: Depth(*pair) for ref, pair in zip(refs, pairs, strict=True)}

    async def statistics(
        self, model: str, version: int, *, ensemble: bool = False
    ) -> dict[str, int]:
        """The counters of a model version, summed over the cluster; docs/redis.md names them.

        Args:
            ensemble: its jobs end in the partitions of other models.
        """
        own = partition_of(model, self.partitions)
        partitions = range(self.partitions) if ensemble else (own,)
        found = await asyncio.gather(*(self._counters(p, model, version) for p in partitions))
        return summed(found)

    async def _counters(self, partition: int, model: str, version: int) -> dict[str, int]:
        keys = partition_keys(partition)
        flat = await self._links.to(keys.tag).command("HGETALL", f"{keys.stats}{model}:{version}")
        return counters_of(dict(zip(flat[::2], flat[1::2], strict=True)))
