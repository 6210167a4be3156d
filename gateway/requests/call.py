"""Who asks, until when, and what was said beside the request: made at the door, and handed on."""

from collections.abc import Sequence
from typing import NamedTuple

from penstock.clock import NO_DEADLINE, Deadline
from penstock.gateway.access.caller import ANYBODY, Caller


class Call(NamedTuple):
    """What is known of whoever sent a request, whichever protocol it came by.

    Attributes:
        deadline: the client's; `NO_DEADLINE` where it set none.
        connection: names the one that the request came over.
        is_local: the client is on this machine, as far as that matters to anybody.
        metadata: names, in lower case, and values that came beside the request, in their order.
        arrived_ns: when the request came, in nanoseconds since 1970, where requests are traced.
        certificate: the names of the certificate that the client proved to be its own: its URIs,
            then its DNS names, or its common name. Empty where it showed none.
        caller: whose request it is, and what those may.
    """

    deadline: Deadline = NO_DEADLINE
    connection: str = ""
    is_local: bool = False
    metadata: Sequence[tuple[str, str | bytes]] = ()
    arrived_ns: int = 0
    certificate: tuple[str, ...] = ()
    caller: Caller = ANYBODY
