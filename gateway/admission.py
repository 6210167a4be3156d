"""Admission: whether a request that is fine may enter the queue now. Pure.

What only Redis knows, the limits of each queue, is checked where the job is queued.
"""

from dataclasses import dataclass

from penstock.errors import (
    DeadlineExceeded,
    PenstockError,
    QueueFull,
    ShuttingDown,
    StoreUnavailable,
)

STORE_PATIENCE_S = 2.0
"""Redis may be away this long before new requests are refused rather than held."""


SHUTTING_DOWN = "GRPC server is shutting down and has stopped accepting new requests."


@dataclass(frozen=True, slots=True)
class Situation:
    """What admission decides on.

    Attributes:
        store_down_s: how long Redis has been away; 0 while it answers.
        pending_bytes: payloads of this gateway's requests that wait for their replies.
    """

    draining: bool
    store_down_s: float
    pending_bytes: int


def refusal(
    situation: Situation, payload_bytes: int, remaining_s: float, most_pending_bytes: int
) -> PenstockError | None:
    """Why a request may not enter; None when it may."""
    if situation.draining:
        return ShuttingDown(SHUTTING_DOWN)
    if remaining_s <= 0:
        return DeadlineExceeded("the deadline had passed when the request arrived")
    if situation.store_down_s > STORE_PATIENCE_S:
        return StoreUnavailable(
            f"the queue cannot be reached for {situation.store_down_s:.0f} s; try again later"
        )
    if situation.pending_bytes + payload_bytes > most_pending_bytes:
        return QueueFull(
            "this gateway holds as many bytes of waiting requests as it may; try again later"
        )
    return None
