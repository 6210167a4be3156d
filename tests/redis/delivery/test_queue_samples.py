"""What gateways read of queues, and of the workers' measurements."""

import time

from support.probe import FIRST, LONG_MS, SECOND

from penstock.scheduler.observe.queue_samples import (
    MARKS,
    Waiting,
    batch_times_of,
    score_of,
    waiting_in,
    write_batch_times,
)


async def test_a_gateway_computes_the_score_that_the_store_has(probe):
    await probe.enqueue("a", priority=3, ttl_ms=10**15)
    await probe.enqueue("b", priority=3, ttl_ms=LONG_MS)
    await probe.enqueue("c", priority=10**9, ttl_ms=LONG_MS)
    deadlines = {id_: int((await probe.record(id_))["deadline"]) for id_ in "abc"}

    stored = await probe.command("ZRANGE", probe.keys.ready + FIRST.queue, 0, -1, "WITHSCORES")

    found = dict(zip(stored[::2], map(float, stored[1::2]), strict=True))
    priorities = {"a": 3, "b": 3, "c": 10**9}
    assert found == {id_.encode(): score_of(priorities[id_], deadlines[id_]) for id_ in deadlines}


async def test_an_empty_queue_has_no_marks(probe):
    found = await waiting_in(probe.queue, [FIRST, SECOND])

    assert found == {ref: Waiting(found[FIRST].now_ms, 0, (), 0.0) for ref in (FIRST, SECOND)}
    assert abs(found[FIRST].now_ms - time.time() * 1000) < 60_000


async def test_a_few_jobs_are_all_marks(probe):
    await probe.enqueue("a", rows=2)
    await probe.enqueue("b", rows=5, ttl_ms=LONG_MS + 1000)

    found = (await waiting_in(probe.queue, [SECOND, FIRST]))[FIRST]

    assert (found.jobs, len(found.marks), found.rows) == (2, 2, 3.5)
    assert found.marks[1] - found.marks[0] >= 1000


async def test_of_many_jobs_some_are_marks_the_first_and_the_last_among_them(probe):
    for place in range(100):
        await probe.enqueue(f"{place}", ttl_ms=LONG_MS + 1000 * place)
    first = score_of(1, int((await probe.record("0"))["deadline"]))
    last = score_of(1, int((await probe.record("99"))["deadline"]))

    found = (await waiting_in(probe.queue, [FIRST]))[FIRST]

    assert (found.jobs, len(found.marks)) == (100, MARKS)
    assert list(found.marks) == sorted(found.marks)
    assert (found.marks[0], found.marks[-1]) == (first, last)


async def test_a_workers_batch_times_are_read_as_they_were_written(probe):
    await write_batch_times(probe.queue, FIRST.model, "w1", {1: 0.0015, 32: 1.25})
    await write_batch_times(probe.queue, FIRST.model, "w2", {})

    found = await batch_times_of(probe.queue, FIRST.model, ["w2", "w1", "nobody"])

    assert found == [{}, {1: 0.0015, 32: 1.25}, {}]
    assert 0 < await probe.ttl_ms(probe.keys.batch_times + "w1") <= 60_000
