"""A request that is fine may enter, unless the gateway or the queue cannot take it now."""

import pytest

from penstock.errors import Code, DeadlineExceeded, ShuttingDown, StoreUnavailable
from penstock.gateway.limits.admission import STORE_PATIENCE_S, Situation, refusal


def asked(*, draining=False, down_s=0.0, remaining_s=1.0):
    return refusal(Situation(draining, down_s), remaining_s)


@pytest.mark.parametrize(
    "situation",
    [
        {},
        {"remaining_s": 0.001},
        {"down_s": STORE_PATIENCE_S},
    ],
)
def test_a_request_may_enter_up_to_every_limit(situation):
    assert asked(**situation) is None


def test_a_gateway_that_stops_takes_nothing():
    error = asked(draining=True)

    assert isinstance(error, ShuttingDown)
    assert str(error) == ("GRPC server is shutting down and has stopped accepting new requests.")
    assert (error.code, error.retry_after_ms) == (Code.UNAVAILABLE, 0)


@pytest.mark.parametrize("remaining_s", [0, -0.5])
def test_a_request_that_comes_too_late_is_told_so(remaining_s):
    error = asked(remaining_s=remaining_s)

    assert isinstance(error, DeadlineExceeded)
    assert error.retry_after_ms is None


def test_a_store_that_is_away_for_long_is_not_waited_for():
    error = asked(down_s=7.4)

    assert isinstance(error, StoreUnavailable)
    assert str(error) == "the queue cannot be reached for 7 s; try again later"


def test_what_lasts_longest_is_told_first():
    everything = {"draining": True, "remaining_s": 0, "down_s": 9}

    assert isinstance(asked(**everything), ShuttingDown)
    assert isinstance(asked(**everything | {"draining": False}), DeadlineExceeded)
