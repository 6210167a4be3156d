"""Requests of a sequence run one at a time, in their order, each with the state before it."""

import itertools

import pytest
from support.probe import FIRST, LONG_MS, NO_TIME, UNLIMITED, job
from support.waiting import until

from penstock.errors import Code, InvalidRequest
from penstock.models.sequencing import SequenceTerms
from penstock.scheduler.jobs.types import Held, Outcome, Turn

TERMS = SequenceTerms(slots=100, idle_ms=LONG_MS, initial=b"+0")
BUSY = SequenceTerms(slots=1, idle_ms=LONG_MS, initial=b"+0")
_ids = itertools.count()


class Sequence:
    """What one client sends; each call is one request."""

    def __init__(self, probe, id_="i42", terms=TERMS):
        self.probe = probe
        self.id = id_
        self.terms = terms

    async def send(self, *, starts=False, ends=False, id_=None, **changes):
        """Enqueue the next request; its job's id."""
        id_ = id_ or f"{self.id}-{next(_ids)}"
        turn = Turn(self.id, starts, ends, self.terms)
        await self.probe.queue.enqueue(job(id_, turn=turn, priority=0, **changes), UNLIMITED)
        return id_

    async def send_all(self, count):
        """A whole sequence of *count* requests."""
        last = count - 1
        return [await self.send(starts=i == 0, ends=i == last) for i in range(count)]


async def settle(probe, *leases, code=Code.OK, state=None):
    """End leased jobs; each leaves its id as its sequence's state, unless another is given."""
    outcomes = [
        Outcome(one.id, code, "", b"reply", b"+" + one.id.encode() if state is None else state)
        for one in leases
    ]
    return await probe.queue.settle(leases[0].token, FIRST, len(leases), NO_TIME, outcomes)


async def turns(probe, **terms):
    """The jobs that may be claimed, and what they are given."""
    claim = await probe.claim(**terms)
    return claim.leases


async def left(probe):
    """Keys that sequences have left behind."""
    kept = ("sequence:", "turns:", "slots:", "backlog:", "idle")
    return {name for name in await probe.names() if any(f"}}:{one}" in name for one in kept)}


async def test_one_runs_at_a_time_in_the_order_of_the_requests(probe):
    ids = await Sequence(probe).send_all(4)

    ran = []
    for _ in ids:
        (lease,) = await turns(probe)
        ran.append(lease.id)
        assert await turns(probe, worker="worker-2") == []
        assert await settle(probe, lease) == [Held.FINE]

    assert ran == ids
    assert await left(probe) == set()


async def test_each_request_carries_the_state_that_the_one_before_left(probe):
    first, second, _ = await Sequence(probe).send_all(3)

    given = []
    for _ in range(3):
        (lease,) = await turns(probe)
        given.append(lease.payload)
        await settle(probe, lease)

    ends = [payload.rpartition(b"+")[2].decode() for payload in given]
    assert ends == ["0", first, second]
    assert given[0] == f"input of {first}".encode() + b"+0"


async def test_requests_of_different_sequences_run_together(probe):
    for number in range(5):
        await Sequence(probe, f"i{number}").send_all(2)

    leases = await turns(probe)
    await settle(probe, *leases)
    again = await turns(probe)

    assert len(leases) == len(again) == 5


async def test_a_request_that_comes_later_goes_on_where_the_sequence_was(probe):
    one = Sequence(probe, "ssome words")
    first = await one.send(starts=True)
    await settle(probe, *await turns(probe))

    await one.send(ends=True)
    (lease,) = await turns(probe)

    assert lease.payload.endswith(b"+" + first.encode())
    await settle(probe, lease)
    assert await left(probe) == set()


async def test_a_large_payload_carries_the_state_too(probe):
    one = Sequence(probe)
    large = b"x" * 100_000
    first = await one.send(starts=True, payload=large)
    # A gateway that heard no answer sends it again, and that changes nothing.
    await one.send(starts=True, payload=large, id_=first)
    (lease,) = await turns(probe)
    await settle(probe, lease)
    await one.send(ends=True, payload=large)
    (second,) = await turns(probe)

    assert lease.payload == large + b"+0"
    assert second.payload == large + b"+" + first.encode()


async def test_a_sequence_must_start(probe):
    with pytest.raises(InvalidRequest) as refused:
        await Sequence(probe).send()

    assert str(refused.value) == (
        "inference request for sequence 42 to model 'digits' must specify the START flag on the "
        "first request of the sequence"
    )
    assert await left(probe) == set()


async def test_nothing_follows_an_end_but_a_new_start(probe):
    one = Sequence(probe)
    await one.send_all(2)
    with pytest.raises(InvalidRequest, match="START flag"):
        await one.send()
    again = await one.send(starts=True, ends=True)

    for _ in range(2):
        await settle(probe, *await turns(probe))
    (lease,) = await turns(probe)

    assert (lease.id, lease.payload) == (again, f"input of {again}+0".encode())


async def test_a_start_in_the_middle_begins_anew(probe):
    one = Sequence(probe)
    await one.send(starts=True)
    await settle(probe, *await turns(probe))
    again = await one.send(starts=True)
    (lease,) = await turns(probe)

    assert lease.payload == f"input of {again}+0".encode()


async def test_the_same_request_is_accepted_once(probe):
    one = Sequence(probe)
    first = await one.send(starts=True)
    second = await one.send(ends=True)
    for known in (first, second, first):
        await one.send(starts=known == first, ends=known == second, id_=known)

    ran = []
    for _ in range(2):
        (lease,) = await turns(probe)
        ran.append(lease.id)
        await settle(probe, lease)
    await one.send(ends=True, id_=second)

    assert ran == [first, second]
    assert await turns(probe) == []


async def test_a_repeated_settle_moves_the_sequence_once(probe):
    await Sequence(probe).send_all(3)
    (lease,) = await turns(probe)
    assert await settle(probe, lease) == [Held.FINE]
    (second,) = await turns(probe)

    assert await settle(probe, lease, state=b"+wrong") == [Held.FINE]
    await settle(probe, second)
    (third,) = await turns(probe)

    assert third.payload.endswith(b"+" + second.id.encode())


# what goes wrong


async def test_a_dead_workers_request_runs_again_with_the_same_state(probe):
    ids = await Sequence(probe).send_all(3)
    await settle(probe, *await turns(probe))
    (lost,) = await turns(probe, worker="worker-1")
    await probe.queue.release_leases_of(FIRST.model, "worker-1")

    (lease,) = await turns(probe, worker="worker-2")

    assert lease.id == lost.id == ids[1]
    assert lease.payload == lost.payload
    assert await settle(probe, lost, state=b"+late") == [Held.LOST]
    await settle(probe, lease)
    (third,) = await turns(probe, worker="worker-2")
    assert third.payload.endswith(b"+" + ids[1].encode())


@pytest.mark.parametrize("how", ["failed", "cancelled", "expired"])
async def test_a_request_that_does_not_succeed_changes_no_state(probe, how):
    one = Sequence(probe)
    first = await one.send(starts=True)
    await settle(probe, *await turns(probe))
    middle = await one.send(**({"ttl_ms": 1} if how == "expired" else {}))
    last = await one.send(ends=True)

    if how == "failed":
        await settle(probe, *await turns(probe), code=Code.INTERNAL)
    elif how == "cancelled":
        await probe.queue.cancel(FIRST.model, middle)
    else:
        await probe.reaped(lambda reaped: reaped.expired)
    (lease,) = await turns(probe)

    assert lease.id == last
    assert lease.payload.endswith(b"+" + first.encode())


async def test_a_cancelled_request_that_waits_its_turn_is_left_out(probe):
    ids = await Sequence(probe).send_all(3)
    await probe.queue.cancel(FIRST.model, ids[1])
    await settle(probe, *await turns(probe))

    (lease,) = await turns(probe)

    assert lease.id == ids[2]
    assert lease.payload.endswith(b"+" + ids[0].encode())


async def test_nothing_follows_a_start_that_failed(probe):
    one = Sequence(probe)
    ids = await one.send_all(3)
    again = await one.send(starts=True)
    await settle(probe, *await turns(probe), code=Code.INTERNAL)

    (lease,) = await turns(probe)
    refused = {(id_, code) for id_, code, *_ in await probe.replies()}

    assert lease.id == again
    assert refused == {
        (ids[0], Code.INTERNAL),
        (ids[1], Code.INVALID_ARGUMENT),
        (ids[2], Code.INVALID_ARGUMENT),
    }


async def test_a_whole_sequence_that_is_late_ends_each_request_once(probe):
    one = Sequence(probe)
    ids = [await one.send(starts=i == 0, ttl_ms=1) for i in range(5)]

    async def ended():
        await probe.queue.reap(0)
        return sum((await probe.ends()).values()) >= 5

    await until(ended)

    assert sorted(reply[0] for reply in await probe.replies()) == sorted(ids)
    assert await left(probe) == set()


async def test_a_gateways_death_ends_its_part_of_a_sequence(probe):
    one = Sequence(probe)
    await one.send(starts=True, gateway="gateway-1")
    await probe.command("ZADD", probe.keys.gateways, 1, "gateway-1")
    await probe.queue.reap(0)

    assert await left(probe) == set()
    with pytest.raises(InvalidRequest):
        await one.send()


async def test_an_idle_sequence_is_over(probe):
    one = Sequence(probe, terms=SequenceTerms(slots=9, idle_ms=1, initial=b"+0"))
    await one.send(starts=True)
    await settle(probe, *await turns(probe))

    async def refused():
        with pytest.raises(InvalidRequest):
            await one.send()
        return True

    async def gone():
        await probe.queue.reap(0)
        return await left(probe) == set()

    await until(gone)
    assert await refused()


async def test_a_sequence_with_a_request_in_work_is_not_idle(probe):
    one = Sequence(probe, terms=SequenceTerms(slots=9, idle_ms=1, initial=b"+0"))
    await one.send(starts=True)
    (lease,) = await turns(probe)
    await probe.queue.reap(0)
    await one.send(ends=True)

    assert await settle(probe, lease) == [Held.FINE]
    assert len(await turns(probe)) == 1


# slots


async def test_more_sequences_than_slots_wait_in_their_order(probe):
    ids = {}
    for name in ("i1", "i2", "i3"):
        ids[name] = await Sequence(probe, name, BUSY).send_all(2)

    ran = []
    for _ in range(6):
        (lease,) = await turns(probe)
        ran.append(lease.id)
        await settle(probe, lease)

    assert ran == [*ids["i1"], *ids["i2"], *ids["i3"]]
    assert await left(probe) == set()


async def test_an_idle_sequence_makes_room(probe):
    short = SequenceTerms(slots=1, idle_ms=1, initial=b"+0")
    await Sequence(probe, "i1", short).send(starts=True)
    await settle(probe, *await turns(probe))
    second = await Sequence(probe, "i2", short).send(starts=True)

    async def next_turn():
        await probe.queue.reap(0)
        return await turns(probe)

    (lease,) = await until(next_turn)
    assert lease.id == second


async def test_a_sequence_that_waits_too_long_for_a_slot_is_refused_as_a_whole(probe):
    await Sequence(probe, "i1", BUSY).send(starts=True)
    late = Sequence(probe, "i2", BUSY)
    ids = [await late.send(starts=True, begin_within_ms=1), await late.send()]

    await until(lambda: _refused(probe))

    told = {(id_, code, message) for id_, code, message, _ in await probe.replies()}
    text = "timeout of the corresponding sequence has been expired"
    assert told == {(id_, Code.UNAVAILABLE, text) for id_ in ids}
    with pytest.raises(InvalidRequest):
        await late.send()


async def test_more_slots_let_those_that_wait_begin(probe):
    for name in ("i1", "i2", "i3"):
        await Sequence(probe, name, BUSY).send(starts=True)
    await Sequence(probe, "i4", TERMS).send(starts=True)

    assert len(await turns(probe)) == 4


async def _refused(probe):
    await probe.queue.reap(0)
    return (await probe.ends()).get("expired") == 2
