"""The state of a job, in whichever partition it is by now. Nothing changes by asking."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from penstock.scheduler.jobs.partitions import Partitions
from penstock.scheduler.store.keys import PartitionKeys, partition_keys, partition_of

_MOVED = "moved"


class JobLookup(Partitions):
    """Finds jobs among the partitions of one keyspace."""

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
