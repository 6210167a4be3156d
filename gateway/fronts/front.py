"""What each front is: it starts, stops accepting requests, and says where it listens."""

from typing import Protocol

from penstock.errors import Code, PenstockError


class PortBusy(PenstockError):
    """Another process serves there."""

    code = Code.UNAVAILABLE


class Front(Protocol):
    """Where clients come in, by one protocol.

    Attributes:
        address: host and port; empty while it does not listen.
        serves_models: its requests are seen to their end before the process goes. Others are there
            to the last moment.
        early: it starts at the first moment, and the others when the models are known.
    """

    address: str
    serves_models: bool
    early: bool

    async def start(self) -> None:
        """Listen.

        Raises:
            PortBusy: with what to do.
        """

    def stop_accepting(self) -> None:
        """Turn new requests away, so that their clients ask elsewhere; others go on."""

    async def finish(self, within_s: float) -> None:
        """Wait for what has begun, and cancel what takes longer than *within_s*."""
