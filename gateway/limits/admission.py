"""Whether a request that is fine may enter the queue now. Pure.

What only Redis knows, the limits of each queue, is checked where the job is queued; the memory
that requests take is counted from their arrival on (memory.py).
"""

from typing import NamedTuple

from penstock.errors import (
    DeadlineExceeded,
    Overloaded,
    PenstockError,
    ShuttingDown,
    StoreUnavailable,
)
from penstock.gateway.limits.forecast import Forecast

STORE_PATIENCE_S = 2.0
"""Redis may be away this long before new requests are refused rather than held."""


LEAST_PUSHBACK_MS, LONGEST_PUSHBACK_MS = 100, 5000

SHUTTING_DOWN = "GRPC server is shutting down and has stopped accepting new requests."


class Situation(NamedTuple):
    """What admission decides on.

    Attributes:
        store_down_s: how long Redis has been away; 0 while it answers.
    """

    draining: bool
    store_down_s: float


def join(
    forecast: Forecast, request_id: str, priority: int, remaining_s: float, now_s: float
) -> None:
    """Count a request among those that wait, if it can be answered in time.

    Raises:
        Overloaded: the queue before it is too long; says when to try again.
    """
    score = forecast.score(priority, remaining_s, now_s)
    after_s = forecast.answered_after_s(score, now_s)
    if after_s <= remaining_s:
        forecast.enter(score)
        return
    late_s = after_s - remaining_s
    error = Overloaded(
        f"[request id: {request_id or '<id_unknown>'}] the queue is too long for the request's "
        f"deadline: {forecast.ahead(score)} requests before it take about {after_s:.2f} s, and it "
        f"has {remaining_s:.2f} s; try again later, or allow more time"
    )
    error.retry_after_ms = min(LONGEST_PUSHBACK_MS, max(LEAST_PUSHBACK_MS, int(late_s * 1000)))
    raise error


def refusal(situation: Situation, remaining_s: float) -> PenstockError | None:
    """Why a request may not enter; None when it may."""
    if situation.draining:
        return ShuttingDown(SHUTTING_DOWN)
    if remaining_s <= 0:
        return DeadlineExceeded("the deadline had passed when the request arrived")
    if situation.store_down_s > STORE_PATIENCE_S:
        return StoreUnavailable(
            f"the queue cannot be reached for {situation.store_down_s:.0f} s; try again later"
        )
    return None
