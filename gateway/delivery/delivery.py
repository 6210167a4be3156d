"""Delivery, put together: how this gateway's jobs go to workers, and replies come back."""

from dataclasses import dataclass

from penstock.gateway.delivery.direct.path import DirectPath
from penstock.gateway.delivery.lending import Lender
from penstock.gateway.delivery.router import JobRouter
from penstock.scheduler.jobs.queue import Queue, open_queue
from penstock.scheduler.replies.read_through import ReadThrough
from penstock.scheduler.replies.reader import ReplyReader
from penstock.scheduler.requests.pending import PendingTable
from penstock.scheduler.store.link import Links
from penstock.settings import GatewaySettings


@dataclass(slots=True)
class Delivery:
    """How jobs go to workers, and replies come back."""

    queue: Queue
    lender: Lender
    direct: DirectPath
    router: JobRouter
    pending: PendingTable
    replies: ReplyReader

    @classmethod
    async def of(cls, settings: GatewaySettings, links: Links, boot_id: str) -> "Delivery":
        """The parts of the gateway *boot_id*; nothing runs yet."""
        queue = await open_queue(links)
        lender = Lender(settings.lent_payload_mib << 20)
        direct = DirectPath(queue, boot_id, enabled=settings.direct)
        router = JobRouter(queue, direct, lender)
        read = ReadThrough()
        pending = PendingTable(queue, boot_id, router, read_through=read)
        replies = ReplyReader(
            links, queue.partitions, boot_id, pending.deliver, pending.deliver_chunk, read
        )
        return cls(queue, lender, direct, router, pending, replies)
