"""Dialer: connects a worker with that of another stage, by a socket here or a stream elsewhere."""

import asyncio
from typing import TYPE_CHECKING

from penstock.workers.serve.language.hops import HopPlace, Peer, SocketHop, call_stage

if TYPE_CHECKING:
    from penstock.workers.serve.language.hop_streams import HopStreams


class Dialer:
    """Connects a worker with those of other stages.

    Attributes:
        domain: the memory domain of this process.
    """

    def __init__(self, domain: str, streams: "HopStreams | None" = None) -> None:
        """Without *streams* no other machine is reached."""
        self.domain = domain
        self._streams = streams

    @property
    def goes_far(self) -> bool:
        """Whether it reaches other machines."""
        return self._streams is not None

    async def connect(self, peer: Peer, boot_id: str, place: HopPlace | None) -> None:
        """Have *peer* at the other end of a hop to the worker of this *boot_id*.

        Args:
            place: where it is; None for on this machine.

        Raises:
            OSError: it cannot be reached; says why.
        """
        if place is None or place.domain == self.domain:
            try:
                sock = call_stage(boot_id)
            except OSError:
                # On one machine there may be several networks.
                if self._streams is None or place is None or not place.address:
                    raise
            else:
                loop = asyncio.get_running_loop()
                await loop.create_unix_connection(lambda: SocketHop(peer), sock=sock)
                return
        if self._streams is None or not place.address:
            raise OSError("it is on another machine: start both nodes with --hop-host")
        await self._streams.connect(peer, place.address)
