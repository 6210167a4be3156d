"""What a worker may write about a job: renew, advance and settle, each fenced by the token."""

import time

import pytest
from support.probe import FIRST, LONG_MS, SECOND

from penstock.errors import Code
from penstock.models.config.policies import QueueLimits
from penstock.scheduler.jobs.types import Held, Outcome, Timing

FINE, CANCELLED, LOST = Held.FINE, Held.CANCELLED, Held.LOST


async def lost(probe, id_="a"):
    """A lease that its worker no longer has, and the lease of the job's present owner."""
    await probe.enqueue(id_)
    old = await probe.lease("worker-1")
    await probe.queue.release_leases_of(FIRST.model, "worker-1")
    return old, await probe.lease("worker-2")


# renew


async def test_renewing_moves_the_end_of_the_lease(probe):
    await probe.enqueue("a")
    lease = await probe.lease(lease_ms=1000)
    before = float(await probe.command("ZSCORE", probe.keys.lease, "a"))

    answer = await probe.queue.renew(FIRST.model, [(lease.id, lease.token)], LONG_MS)

    after = float(await probe.command("ZSCORE", probe.keys.lease, "a"))
    assert answer == [FINE]
    assert after - before > LONG_MS - 60_000


async def test_one_call_renews_leases_of_several_claims_and_tells_them_apart(probe):
    old, _ = await lost(probe, "lost")
    await probe.enqueue("cancelled", "fine")
    claims = [await probe.lease("worker-1", rows=1) for _ in range(2)]
    await probe.queue.cancel(FIRST.model, "cancelled")
    held = {lease.id: lease.token for lease in (old, *claims)} | {"unknown": "worker-1.9"}

    answer = await probe.queue.renew(FIRST.model, list(held.items()), LONG_MS)

    told = dict(zip(held, answer, strict=True))
    assert told == {"lost": LOST, "cancelled": CANCELLED, "fine": FINE, "unknown": LOST}


async def test_a_lost_lease_is_not_lengthened(probe):
    old, _ = await lost(probe)
    before = await probe.command("ZSCORE", probe.keys.lease, "a")

    await probe.queue.renew(FIRST.model, [(old.id, old.token)], 2 * LONG_MS)

    assert await probe.command("ZSCORE", probe.keys.lease, "a") == before


# settle


async def test_a_settled_job_leaves_a_reply_and_nothing_else(probe):
    await probe.enqueue("a", gateway="gateway-7", payload=b"four")
    lease = await probe.lease()

    answer = await probe.settle(lease)

    assert answer == [FINE]
    assert await probe.replies("gateway-7") == [("a", Code.OK, "", b"four!")]
    assert await probe.record("a") == {}
    assert await probe.members(probe.keys.lease) == []
    assert await probe.members(probe.keys.deadline) == []


async def test_settling_again_is_fine_and_changes_nothing(probe):
    await probe.enqueue("a")
    lease = await probe.lease()
    await probe.settle(lease)
    before = await probe.statistics(), await probe.replies()

    again = await probe.settle(lease, code=Code.INTERNAL)

    assert again == [FINE]
    assert (await probe.statistics(), await probe.replies()) == before


async def test_only_the_tokens_owner_settles(probe):
    old, new = await lost(probe)

    assert await probe.settle(old) == [LOST]
    assert await probe.replies() == []
    assert await probe.settle(new) == [FINE]
    assert await probe.settle(old) == [LOST]
    assert len(await probe.replies()) == 1
    assert await probe.ends() == {"success_count": 1}


async def test_an_unknown_job_is_not_settled(probe):
    outcome = Outcome("never-seen", Code.OK, "", b"")

    assert await probe.queue.settle("worker-1.1", FIRST, 1, Timing(), [outcome]) == [LOST]
    assert await probe.ends() == {}


async def test_each_job_of_a_batch_is_settled_on_its_own(probe):
    await probe.enqueue("fine", "cancelled", "failed", "lost")
    claim = await probe.claim()
    token = claim.leases[0].token
    await probe.queue.cancel(FIRST.model, "cancelled")
    await probe.command("HSET", probe.keys.jobs + "lost", "token", "worker-2.1")
    codes = {"fine": Code.OK, "cancelled": Code.OK, "failed": Code.INTERNAL, "lost": Code.OK}
    outcomes = [Outcome(id_, code, "", id_.encode()) for id_, code in codes.items()]

    answer = await probe.queue.settle(token, FIRST, 4, Timing(), outcomes)

    assert dict(zip(codes, answer, strict=True)) == {
        "fine": FINE,
        "cancelled": CANCELLED,
        "failed": FINE,
        "lost": LOST,
    }
    assert [(id_, code) for id_, code, *_ in await probe.replies()] == [
        ("fine", Code.OK),
        ("failed", Code.INTERNAL),
    ]
    assert await probe.members(probe.keys.lease) == ["lost"]
    assert await probe.ends() == {"success_count": 1, "fail_count": 1, "cancelled": 1}


async def test_a_cancelled_job_is_cancelled_for_whoever_asks_again(probe):
    await probe.enqueue("a")
    lease = await probe.lease()
    await probe.queue.cancel(FIRST.model, "a")

    assert [await probe.settle(lease) for _ in range(2)] == [[CANCELLED]] * 2
    assert await probe.ends() == {"cancelled": 1}
    assert await probe.replies() == []


async def test_a_batch_is_counted_as_triton_counts(probe):
    await probe.enqueue("a", rows=3)
    await probe.enqueue("b", rows=5)
    claim = await probe.claim()
    await probe.settle(*claim.leases, timing=Timing(100, 2000, 30))

    counted = await probe.statistics()

    assert counted["accepted"] == counted["success_count"] == 2
    assert (counted["inference_count"], counted["execution_count"]) == (8, 1)
    assert counted["compute_infer_ns"] == 4000
    assert (counted["compute_input_ns"], counted["compute_output_ns"]) == (200, 60)
    assert counted["batch:8:count"] == 1
    assert counted["batch:8:infer_ns"] == 2000
    assert counted["success_ns"] >= counted["queue_ns"] > 0
    assert counted["last_ms"] > 0


async def test_what_was_never_computed_counts_as_a_failure_only(probe):
    await probe.enqueue("a")
    lease = await probe.lease()
    await probe.settle(lease, code=Code.INVALID_ARGUMENT, rows=0)

    counted = await probe.statistics()

    assert counted["fail_count"] == 1
    assert counted["fail_ns"] > 0
    assert (counted["execution_count"], counted["success_count"]) == (0, 0)


# advance


async def test_an_advanced_job_waits_for_the_next_stage_with_its_activations(probe):
    await probe.enqueue("a", rows=2)
    first = await probe.lease()

    answer = await probe.advance(first)
    second = await probe.lease(ref=SECOND)

    assert answer == [FINE]
    assert await probe.waiting() == []
    assert (second.id, second.payload) == ("a", b"activations of a")
    assert (second.rows, second.attempts, second.gateway) == (2, 1, "gateway-1")
    assert second.token != first.token
    assert second.wait_us >= first.wait_us
    assert await probe.settle(second, ref=SECOND) == [FINE]
    assert await probe.ends() == {"success_count": 1}


@pytest.mark.parametrize("claimed", [False, True])
async def test_advancing_again_is_fine_and_changes_nothing(probe, claimed):
    await probe.enqueue("a")
    lease = await probe.lease()
    await probe.advance(lease)
    if claimed:
        await probe.lease("worker-2", ref=SECOND)
    before = await probe.record("a"), await probe.waiting(SECOND.queue)

    again = await probe.queue.advance(lease.token, SECOND, Timing(1, 1, 1), [("a", b"other")])

    assert again == [FINE]
    assert (await probe.record("a"), await probe.waiting(SECOND.queue)) == before


async def test_advancing_again_is_fine_though_the_next_stage_has_settled(probe):
    """An answer may be lost for longer than the next stage takes."""
    await probe.enqueue("a")
    lease = await probe.lease()
    await probe.advance(lease)
    last = await probe.lease("worker-2", ref=SECOND)
    await probe.settle(last, ref=SECOND)

    assert await probe.queue.advance(lease.token, SECOND, Timing(1, 1, 1), [("a", b"")]) == [FINE]
    assert await probe.queue.advance("worker-3.1", SECOND, Timing(1, 1, 1), [("a", b"")]) == [LOST]
    assert await probe.settle(last, ref=SECOND) == [FINE]
    assert await probe.ends() == {"success_count": 1}


async def test_only_the_tokens_owner_advances(probe):
    old, new = await lost(probe)

    assert await probe.advance(old) == [LOST]
    assert await probe.waiting(SECOND.queue) == []
    assert await probe.advance(new) == [FINE]
    assert await probe.advance(old) == [LOST]
    assert await probe.settle(new) == [LOST]
    assert await probe.waiting(SECOND.queue) == ["a"]


async def test_each_job_of_a_batch_is_advanced_on_its_own(probe):
    await probe.enqueue("a", "b", "c")
    claim = await probe.claim()
    await probe.queue.cancel(FIRST.model, "b")
    await probe.command("HSET", probe.keys.jobs + "c", "token", "worker-2.1")

    answers = [await probe.advance(*claim.leases) for _ in range(2)]

    ids = [lease.id for lease in claim.leases]
    expected = {"a": FINE, "b": CANCELLED, "c": LOST}
    assert [dict(zip(ids, answer, strict=True)) for answer in answers] == [expected] * 2
    assert await probe.waiting(SECOND.queue) == ["a"]
    assert await probe.ends() == {"cancelled": 1}


async def test_the_times_of_all_stages_add_up(probe):
    await probe.enqueue("a")
    first = await probe.lease()
    await probe.queue.advance(first.token, SECOND, Timing(1, 10, 100), [("a", b"")])
    second = await probe.lease(ref=SECOND)
    await probe.settle(second, ref=SECOND, timing=Timing(2, 20, 200))

    counted = await probe.statistics()

    assert counted["compute_input_ns"] == 3
    assert counted["compute_infer_ns"] == 30
    assert counted["compute_output_ns"] == 300


async def test_order_in_the_next_stage_is_that_of_the_first(probe):
    await probe.enqueue("late", ttl_ms=LONG_MS + 10_000)
    await probe.enqueue("soon", ttl_ms=LONG_MS - 10_000)
    await probe.enqueue("first", ttl_ms=LONG_MS, priority=0)
    claim = await probe.claim()
    await probe.advance(*reversed(claim.leases))

    assert await probe.waiting(SECOND.queue) == ["first", "soon", "late"]


async def test_a_job_may_go_to_any_stage_an_earlier_one_too(probe):
    await probe.enqueue("a", ref=SECOND)
    lease = await probe.lease(ref=SECOND)

    await probe.advance(lease, to=FIRST)

    assert await probe.waiting(FIRST.queue) == ["a"]


async def test_the_limit_of_waiting_is_for_the_first_stage_alone(probe):
    await probe.enqueue("a", begin_within_ms=50)
    lease = await probe.lease()
    begin_ms = int((await probe.record("a"))["begin"])
    await probe.advance(lease)
    await probe.reaped(lambda _: time.time() * 1000 > begin_ms + 2)

    assert (await probe.lease(ref=SECOND)).id == "a"


async def test_activations_count_in_place_of_the_input(probe):
    limits = QueueLimits(payload_bytes=100)
    await probe.enqueue("a", payload=b"x" * 100, limits=limits)
    lease = await probe.lease()
    await probe.queue.advance(lease.token, SECOND, Timing(), [("a", b"x" * 30)])
    version = f"{FIRST.model}:{FIRST.version}"

    assert await probe.command("HGET", probe.keys.live_bytes, version) == b"30"
    await probe.settle(await probe.lease(ref=SECOND), ref=SECOND)
    assert await probe.command("HGET", probe.keys.live_bytes, version) == b"0"
