"""A worker that takes jobs straight from a gateway, and what it leaves to its queue."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from support.clients.direct import beside, serving
from support.probe import FIRST
from support.processes.at_work import BLOCKS, SPEC, Caller, Doubling, payload, values, working
from support.waiting import until

from penstock.errors import Code
from penstock.scheduler.observe.counters import statistics_of
from penstock.scheduler.observe.usage import usage_of
from penstock.scheduler.store import scripts
from penstock.transport.arena import Arena
from penstock.transport.lane import LEFT, Kind, call, frame
from penstock.workers.serve.batching import BatchRules


@pytest.fixture
async def at_work(redis_url):
    async with working(redis_url) as one:
        yield one


async def test_requests_of_a_gateway_beside_it_come_straight_once_it_is_known_to_be_quick(
    at_work, redis_url
):
    async with serving(redis_url) as gateway:
        name = at_work.direct_server.name
        gateway.knows(beside(name.rpartition("-")[2], name))
        asked = 0

        async def handed_over():
            nonlocal asked
            asked += 1
            body = await gateway.ask(f"job-{asked}", payload=payload(asked))
            assert values(body) == [2 * asked]
            # As clients read them: what has been answered is counted.
            (found,) = await gateway.router.statistics([((FIRST.model, FIRST.version), False)])
            assert found["accepted"] == found["success_count"] == asked
            return found.get("direct", 0) > 10

        await until(handed_over, 30)
        found = await at_work.statistics()
        assert found["inference_count"] == found["execution_count"] == asked
        assert found["queue_ns"] < found["success_ns"]
        assert await gateway.probe.waiting() == []


class SlowToWake(ThreadPoolExecutor):
    """The device's thread on a machine that sleeps between two requests."""

    def submit(self, fn, /, *args, **kwargs):
        def later():
            time.sleep(0.003)
            return fn(*args, **kwargs)

        return super().submit(later)


async def test_a_quick_shard_is_quick_however_long_its_thread_takes_to_wake(redis_url):
    async with working(redis_url, device_type=SlowToWake) as at_work:
        caller = await at_work.connected(Caller())
        for number in range(20):
            await at_work.asleep()
            caller.hand((number, payload(1)))
            await caller.end_of(number)
        await until(lambda: caller.room)


async def test_a_worker_says_how_much_it_takes_once_it_knows(at_work):
    caller = await at_work.connected(Caller())
    await at_work.asleep()
    assert caller.room == 0

    await caller.told_of_room()
    assert caller.room <= SPEC.rules.most_rows


async def test_a_worker_at_work_leaves_what_it_is_handed(at_work):
    caller = await at_work.connected(Caller())
    await at_work.probe.enqueue("a", payload=payload(BLOCKS))
    await until(at_work.runtime.blocked.is_set)

    caller.hand((1, payload(1)), (2, payload(2)))
    assert (await caller.end_of(1)).code == (await caller.end_of(2)).code == LEFT
    at_work.runtime.go_on.set()
    await at_work.asleep()
    caller.hand((3, payload(3)))
    assert values((await caller.end_of(3)).body) == [6]


async def test_a_worker_that_left_something_says_when_it_sleeps_again(at_work, monkeypatch):
    caller = await at_work.connected(Caller())
    await at_work.asleep()
    await caller.told_of_room()
    with monkeypatch.context() as busy:
        busy.setattr(at_work.worker, "is_asleep", lambda: False)
        caller.room = 0
        caller.hand((1, payload(1)))
        assert (await caller.end_of(1)).code == LEFT

    await until(lambda: caller.room)


async def test_one_that_runs_a_direct_job_leaves_the_next(at_work):
    caller = await at_work.connected(Caller())
    await at_work.asleep()
    caller.hand((1, payload(BLOCKS)))
    await until(at_work.runtime.blocked.is_set)

    caller.hand((2, payload(2)))
    assert (await caller.end_of(2)).code == LEFT
    at_work.runtime.go_on.set()
    assert values((await caller.end_of(1)).body) == [2 * BLOCKS]


@pytest.fixture
def arena():
    made = Arena(1 << 20)
    yield made
    made.close()


async def test_what_a_gateway_lends_is_read_where_it_lies(at_work, arena):
    caller = await at_work.connected(Caller())
    await at_work.asleep()
    caller.hand((1, arena.lend(payload(3)).handle))

    assert values((await caller.end_of(1)).body) == [6]


async def test_what_changed_while_it_was_computed_has_no_result(at_work, arena):
    caller = await at_work.connected(Caller())
    await at_work.asleep()
    loan = arena.lend(payload(BLOCKS))
    caller.hand((1, loan.handle))
    await until(at_work.runtime.blocked.is_set)
    arena.take_back(loan)
    assert arena.lend(payload(4)).at == loan.at
    at_work.runtime.go_on.set()

    end = await caller.end_of(1)
    assert (end.code, end.body) == (Code.DATA_LOSS, b"")


async def test_what_cannot_be_read_is_said_to_be_lost(at_work, arena):
    caller = await at_work.connected(Caller())
    await at_work.asleep()
    loan = arena.lend(payload(3))
    arena.take_back(loan)
    arena.lend(payload(4))
    caller.hand((1, loan.handle))

    end = await caller.end_of(1)
    assert (end.code, end.body) == (Code.DATA_LOSS, b"")


async def test_what_is_handed_over_waits_for_a_look_into_the_queue(at_work):
    """What waits there wakes the worker; so it is not asleep just when it lies down."""
    asleep = []
    at_work.worker.on_sleep = lambda: asleep.append(at_work.worker.is_asleep())
    await until(lambda: len(asleep) > 1)

    assert not any(asleep)
    await at_work.asleep()


async def test_a_bad_request_harms_no_other(at_work):
    caller = await at_work.connected(Caller())
    await at_work.asleep()
    caller.hand((1, b"\xff"), (2, payload(2)), (3, payload()))

    assert values((await caller.end_of(2)).body) == [4]
    first = await caller.end_of(1)
    assert (first.code, first.body) == (Code.INVALID_ARGUMENT, b"")
    assert "cannot be read" in first.message
    found = await until(lambda: _counted(at_work, 3))
    assert (found["success_count"], found["fail_count"]) == (2, 1)


async def test_a_late_job_is_not_begun(at_work):
    caller = await at_work.connected(Caller())
    await at_work.asleep()
    caller.hand((1, payload(BLOCKS)), ttl_ms=0)

    assert (await caller.end_of(1)).code == Code.DEADLINE_EXCEEDED
    assert not at_work.runtime.blocked.is_set()


async def test_a_gateway_that_goes_away_leaves_a_worker_that_works(at_work):
    caller = await at_work.connected(Caller())
    await at_work.asleep()
    caller.hand((1, payload(BLOCKS)))
    await until(at_work.runtime.blocked.is_set)
    caller.transport.abort()
    other = await at_work.connected(Caller())
    at_work.runtime.go_on.set()

    await at_work.asleep()
    other.hand((1, payload(1)))
    assert values((await other.end_of(1)).body) == [2]


async def test_a_worker_that_ends_finishes_what_it_runs_and_nothing_more(redis_url):
    async with working(redis_url) as at_work:
        caller = await at_work.connected(Caller())
        await at_work.asleep()
        caller.hand((1, payload(BLOCKS)))
        await until(at_work.runtime.blocked.is_set)
        at_work.stop.set()
        caller.hand((2, payload(2)))
        assert (await caller.end_of(2)).code == LEFT
    await until(lambda: caller.lost)

    assert values(caller.ends[1].body) == [2 * BLOCKS]
    assert caller.left
    with pytest.raises(ConnectionRefusedError):
        call(at_work.direct_server.name)


async def test_a_gateway_that_gives_a_number_twice_is_hung_up_on(at_work):
    caller = await at_work.connected(Caller())
    await at_work.asleep()
    caller.hand((1, payload(1)), (1, payload(2)))

    await until(lambda: caller.lost)


async def test_it_tells_when_all_is_counted(at_work):
    caller = await at_work.connected(Caller())
    await at_work.asleep()
    caller.hand((1, payload(1)))
    assert (await caller.end_of(1)).code == Code.OK
    caller.transport.writelines(frame(Kind.NOTED))
    await until(lambda: caller.noted)

    assert (await at_work.statistics())["success_count"] == 1


async def test_a_batch_that_is_told_twice_counts_once(probe):
    script, keys = scripts.load("note_direct"), "penstock:{p00}:"
    link = probe.links.to("{p00}")
    callers = (1, "a", 1, 0, 2, 3, 4, 5)
    spread = (2, "request", 1000, 2, "queue", "inf", 2)
    words = (3, 2, 600, 1, 500, 40, 5, 6, 7, 9, *callers, *spread, 4, 2, 50, 60, 70, 1, 1, 5, 6, 7)
    answers = [
        await link.call(script, keys, ("worker", "m:1", number, *words)) for number in (1, 1, 2, 1)
    ]

    assert answers == [1, 0, 1, 0]
    found = await statistics_of(probe.queue, "m", 1)
    assert found["accepted"] == found["direct"] == 6
    assert (found["success_count"], found["success_ns"]) == (4, 1200)
    assert (found["fail_count"], found["fail_ns"]) == (2, 1000)
    assert (found["queue_ns"], found["compute_infer_ns"]) == (80, 12)
    assert (found["inference_count"], found["execution_count"]) == (18, 6)
    assert (found["batch:4:count"], found["batch:4:infer_ns"]) == (4, 120)
    assert (found["batch:1:count"], found["batch:1:output_ns"]) == (2, 14)
    assert (found["request_us:1000"], found["queue_us:inf"]) == (4, 4)
    assert list((await usage_of(probe.queue)).values()) == [(2, 0, 4, 6, 8, 10)]


@pytest.mark.parametrize(
    "changes",
    [
        {"last": False},
        {"ref": FIRST._replace(stage=1)},
        {"states": {}},
        {"rules": BatchRules(most_rows=8, together=True, enough_rows=8, batch_delay_us=1000)},
    ],
    ids=["not-last", "later-stage", "stateful", "waits-for-batches"],
)
async def test_shards_that_need_the_queue_take_nothing(redis_url, changes):
    async with working(redis_url, replace(SPEC, **changes)) as one:
        assert one.direct_server.name == ""


async def test_a_shard_that_is_bound_to_its_thread_takes_nothing(redis_url):
    runtime = Doubling()
    runtime.any_thread = False
    async with working(redis_url, runtime=runtime) as one:
        assert one.direct_server.name == ""


async def test_a_shard_that_computes_as_much_as_its_values_say_takes_nothing(redis_url):
    runtime = Doubling()
    runtime.fixed_work = False
    async with working(redis_url, runtime=runtime) as one:
        assert one.direct_server.name == ""


async def _counted(at_work, jobs):
    found = await at_work.statistics()
    return found if found.get("direct") == jobs else None


# batches that cannot be split


class Repeating(Doubling):
    """A shard whose output has two rows more than its input where it is told to."""

    # Once it is known to be short it would block the event loop, and whoever lets it go on with it.
    any_thread = False

    def __init__(self):
        super().__init__()
        self.rows = []

    def run(self, inputs, outputs):
        found = super().run(inputs, outputs)
        self.rows.append(len(inputs["x"]))
        if (inputs["x"] == 13).any() and len(inputs["x"]) > 1:
            return {name: np.repeat(array, 2, axis=0) for name, array in found.items()}
        return found


async def in_one_claim(at_work, *numbers):
    """Requests that wait while the worker is busy with another."""
    runtime, begun = at_work.runtime, len(at_work.runtime.rows)
    runtime.blocked.clear()
    runtime.go_on.clear()
    await at_work.probe.enqueue(f"busy-{begun}", payload=payload(BLOCKS))
    await until(runtime.blocked.is_set)
    await at_work.probe.enqueue(
        *(f"{begun}-{number}" for number in numbers), payload=payload(numbers[0])
    )
    runtime.go_on.set()
    await until(lambda: len(runtime.rows) > begun + len(numbers))
    await at_work.asleep()


async def test_no_two_requests_share_a_run_after_a_batch_that_could_not_be_split(redis_url):
    """Those that were in it run alone, and each is answered."""
    async with working(redis_url, runtime=Repeating()) as at_work:
        told, rows = [], at_work.runtime.rows
        at_work.worker.on_unsplittable = told.append

        await in_one_claim(at_work, 13, 14, 15)
        assert rows == [1, 3, 1, 1, 1]
        await in_one_claim(at_work, 16, 17)

        assert rows[5:] == [1, 1, 1]
        assert len(told) == 1

        async def counted():
            # A moment later.
            return (await at_work.statistics()).get("success_count") == 7

        await until(counted)
