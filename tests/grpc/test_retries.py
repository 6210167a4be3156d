"""T16: while everything answers UNAVAILABLE, load makes no load. The server counts the attempts."""

import asyncio
import os
from statistics import pstdev

import pytest
from support.servers.refusing_server import refusing

from penstock.client import AsyncClient, Client, Unavailable
from penstock.client.retry import RetryPolicy
from penstock.errors import DeadlineExceeded

LONG_S = float(os.environ.get("CHAOS_RETRIES_S", "3"))
"""How long callers try: 30 in the long form."""

CALLERS = 64


def most_calls(policy, seconds):
    """More than this many calls of one caller in so many seconds is a storm."""
    bounds = (min(policy.longest_delay_s, policy.first_delay_s * 2**n) for n in range(policy.calls))
    total, count = 0.0, 1
    for bound in bounds:
        # Half of the bound on the average; a fifth of that would be odd for the sum of several.
        total += bound / 10
        if total > seconds:
            break
        count += 1
    return count


@pytest.mark.timeout(180)
@pytest.mark.parametrize("pushback", ["", "0"])
async def test_callers_of_a_service_that_is_unavailable_make_no_storm(pushback):
    policy = RetryPolicy()
    with refusing(pushback) as server:
        async with AsyncClient(server.url) as client:

            async def ask(name):
                return await client.infer("m", {"x": [1.0]}, request_id=name, deadline_s=LONG_S)

            asked = (ask(f"c{place}") for place in range(CALLERS))
            ends = await asyncio.gather(*asked, return_exceptions=True)
            calls = server.counted("answer")
            # Whoever comes now is answered, once each.
            await asyncio.gather(*(ask(f"later-{place}") for place in range(CALLERS)))
            later = server.counted()

    assert {type(end) for end in ends} <= {Unavailable, DeadlineExceeded}
    assert len(calls) == CALLERS
    assert max(map(len, calls.values())) <= most_calls(policy, LONG_S)
    # No two are in step: their second pauses are spread over what they are drawn from, whatever
    # a busy machine adds to all of them.
    pauses = [times[2] - times[1] for times in calls.values() if len(times) > 2]
    drawn_from_s = min(policy.longest_delay_s, 2 * policy.first_delay_s)
    assert len(pauses) < 8 or pstdev(pauses) > drawn_from_s / 20
    assert {name: len(times) for name, times in later.items() if name in calls} == {}
    assert [len(times) for times in later.values()] == [1] * CALLERS


def test_the_error_says_how_often_it_was_tried_and_why_no_more():
    policy = RetryPolicy(attempts=3, first_delay_s=0.01)
    with refusing() as server, Client(server.url, retry=policy) as client:
        with pytest.raises(Unavailable, match=r"served \(3 attempts, which are as many as"):
            client.infer("m", {"x": [1.0]}, request_id="one")
        assert len(server.counted()["one"]) == 3
