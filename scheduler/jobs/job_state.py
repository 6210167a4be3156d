"""The state of a job, in whichever partition it is by now. A job that still waits rings again."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from penstock.scheduler.jobs.partitions import Partitions
from penstock.scheduler.store import scripts
from penstock.scheduler.store.keys import PartitionKeys, partition_keys, partition_of

_STATE = scripts.load("state")
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
        answer: bytes | None = await self.link_to(keys).call(_STATE, keys.prefix, (job,))
        return None if answer is None else answer.decode().partition(" ")[0]
