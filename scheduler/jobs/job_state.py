"""The state of a job, in whichever partition it is by now. Nothing changes by asking."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from penstock.scheduler.store.keys import PartitionKeys, partition_keys, partition_of
from penstock.scheduler.store.link import Link, Links

_MOVED = "moved"


class JobLookup:
    """Finds jobs among the partitions of one keyspace."""

    def __init__(self, links: Links, partitions: int) -> None:
        self._links = links
        self.partitions = partitions

    def keys_of(self, model: str) -> PartitionKeys:
        """The keys of the partition that holds the model's jobs."""
        return partition_keys(partition_of(model, self.partitions))

    def link_of(self, model: str) -> Link:
        """The shared link to that partition."""
        return self.link_to(self.keys_of(model))

    def link_to(self, keys: PartitionKeys) -> Link:
        """The shared link to the partition that has these keys."""
        return self._links.to(keys.tag)

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
        link = self.link_to(keys)
        live, ended = link.submit("HGET", keys.jobs + job, "state"), keys.ended + job
        mark = await link.command("GET", ended)
        state = await live
        if state is not None:
            return str(state.decode())
        return None if mark is None else str(mark.decode().partition(" ")[0])
