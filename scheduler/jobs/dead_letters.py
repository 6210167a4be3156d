"""Dead letters: jobs that were set aside because they ended their workers.

The newest 256 of each partition are kept, and what they carried for a week, if it was at most
1 MiB, and of all of a partition the newest 16 MiB (lua/lib/letters.lua). A letter leaves when its
job is retried with success.
"""

import asyncio
from dataclasses import dataclass

from penstock.models.config.policies import QueueLimits
from penstock.models.refs import StageRef
from penstock.scheduler.jobs.enqueue import enqueue
from penstock.scheduler.jobs.enqueue_batches import Answered, BatchKey
from penstock.scheduler.jobs.partitions import Partitions
from penstock.scheduler.jobs.types import NewJob
from penstock.scheduler.store.conversation import by_name
from penstock.scheduler.store.keys import partition_keys, partition_of


@dataclass(frozen=True, slots=True)
class Letter:
    """One job that was set aside.

    Attributes:
        entry: its place in the stream; begins with when it was set aside, in ms.
        worker: token of the worker that it ended last.
        payload_bytes: of what it carried; None when that is not kept.
    """

    entry: str
    job: str
    ref: StageRef
    worker: str
    crashes: int
    rows: int
    accepted_ms: int
    payload_bytes: int | None

    @property
    def time_ms(self) -> int:
        """When it was set aside, by Redis's clock."""
        return int(self.entry.partition("-")[0])


class Letters(Partitions):
    """The dead letters of all partitions."""

    async def listed(self, model: str = "") -> list[Letter]:
        """All letters, or those of one model; the newest first."""
        partitions = [partition_of(model, self.partitions)] if model else range(self.partitions)
        groups = await asyncio.gather(*(self._listed(partition) for partition in partitions))
        found = (one for group in groups for one in group if model in ("", one.ref.model))
        return sorted(found, key=lambda one: tuple(map(int, one.entry.split("-"))), reverse=True)

    async def payload(self, letter: Letter) -> bytes | None:
        """What the job carried; None when it is not kept."""
        keys = self.keys_of(letter.ref.model)
        found: bytes | None = await self.link_to(keys).command("GET", keys.letters + letter.job)
        return found

    def retry(self, letter: Letter, job: NewJob, answered: Answered) -> None:
        """Queue *job* in place of the letter's, alone and at the head; as `Queue.submit`.

        The letter stays until `forget`, or until *job* has become a letter itself.
        """
        keys = self.keys_of(letter.ref.model)
        batch = BatchKey(job.ref, job.gateway, QueueLimits(), "", letter=(letter.entry, letter.job))
        enqueue(self.link_to(keys), keys, batch, [(job, answered)])

    async def forget(self, letter: Letter) -> None:
        """Its job has succeeded."""
        keys, link = self.keys_of(letter.ref.model), self.link_of(letter.ref.model)
        await asyncio.gather(
            link.submit("UNLINK", keys.letters + letter.job),
            link.submit("XDEL", keys.dead, letter.entry),
        )

    async def _listed(self, partition: int) -> list[Letter]:
        keys = partition_keys(partition)
        link = self.link_to(keys)
        entries = await link.command("XRANGE", keys.dead, "-", "+")
        named = [(entry.decode(), by_name(fields, bytes.decode)) for entry, fields in entries]
        sizes = await asyncio.gather(
            *(link.submit("STRLEN", keys.letters + fields["id"]) for _, fields in named)
        )
        return [
            _letter(entry, fields, size) for (entry, fields), size in zip(named, sizes, strict=True)
        ]


def _letter(entry: str, fields: dict[str, str], size: int) -> Letter:
    return Letter(
        entry=entry,
        job=fields["id"],
        ref=StageRef.of_queue(fields["queue"]),
        worker=fields["worker"],
        crashes=int(fields["crashes"]),
        # Letters of earlier releases say less of their jobs, and carry nothing.
        rows=int(fields.get("rows", 1)),
        accepted_ms=int(fields.get("accepted_us", 0)) // 1000,
        payload_bytes=size or None,
    )
