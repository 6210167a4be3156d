"""Where nobody says how many rows may share a run, few do at first, and more once that pays."""

import time
from dataclasses import replace

from support.processes.at_work import BLOCKS, SPEC, Doubling, payload, working
from support.waiting import until

from penstock.workers.serve.batching import BatchRules

JOBS = 300
GUESSED = replace(SPEC, rules=BatchRules(most_rows=64, together=True), guessed=True)


class Recording(Doubling):
    """A shard that takes as long for many rows as for one."""

    def __init__(self):
        super().__init__()
        self.rows = []

    def run(self, inputs, outputs):
        self.rows.append(len(inputs["x"]))
        time.sleep(0.002)
        return super().run(inputs, outputs)


async def rows_of_runs(url, spec):
    """How many rows the runs had, for many requests of one row that wait behind one."""
    async with working(url, spec=spec, runtime=Recording()) as at_work:
        await at_work.probe.enqueue("first", payload=payload(BLOCKS))
        await until(at_work.runtime.blocked.is_set)
        for number in range(JOBS):
            await at_work.probe.enqueue(f"{number}", payload=payload(1.0))
        at_work.runtime.go_on.set()

        async def all_have_ended():
            return len(await at_work.probe.replies()) == JOBS + 1

        await until(all_have_ended, 60)
        return at_work.runtime.rows


async def test_batches_grow_from_a_few_rows_to_what_pays(redis_url):
    rows = await rows_of_runs(redis_url, GUESSED)

    assert max(rows[:10]) == 8
    assert max(rows) >= 16
    assert sum(rows) == JOBS + 1


async def test_what_the_owner_says_is_done_at_once(redis_url):
    rows = await rows_of_runs(redis_url, replace(GUESSED, guessed=False))

    assert max(rows[:3]) == 64


async def test_one_request_may_have_more_rows_than_are_joined(redis_url):
    async with working(redis_url, spec=GUESSED, runtime=Recording()) as at_work:
        await at_work.probe.enqueue("large", payload=payload(*[1.0] * 64), rows=64)

        async def has_ended():
            return len(await at_work.probe.replies()) == 1

        await until(has_ended)

    assert at_work.runtime.rows == [64]
