"""One RPC as the services see it, whichever server carries it: its call, its messages, its status.

A server of gRPC is an adapter: it makes an `Rpc` of what it has, and runs the `Method` of its path.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from penstock.gateway.requests.call import Call


class Readable(Protocol):
    """What has messages.

    Attributes:
        call: until when its client waits, who that is, and what came beside the messages.
    """

    call: Call

    def read(self) -> Awaitable[object]:
        """The next message's bytes, or a view of them; anything else when there are no more."""


class Rpc(Readable, Protocol):
    """What a server has of one RPC."""

    def write(self, message: bytes) -> Awaitable[None]:
        """Send *message*; waits while the client does not read."""

    def fail(self, status: int, text: str, trailing: Sequence[tuple[str, str]]) -> None:
        """End with *status*, a number of gRPC's, as soon as the method's `handle` returns."""


Handle = Callable[[Rpc], Awaitable[bytes | None]]


class Method(NamedTuple):
    """How the RPCs of one path are answered.

    Attributes:
        handle: reads the messages. It gives the only reply, or writes all and gives None; its
            failure is told by `Rpc.fail`.
        streams: the replies may be many.
        often: many of its calls begin at a time.
    """

    handle: Handle
    streams: bool = False
    often: bool = False


Methods = Mapping[str, Method]
"""By path, as in "/inference.GRPCInferenceService/ModelInfer"."""
