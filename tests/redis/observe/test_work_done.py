"""What workers have done, from themselves to whoever shows it."""

from support.probe import FIRST
from support.records import placement, worker

from penstock.scheduler.observe.work_done import WorkDone, work_done_of, write_work_done
from penstock.workers.serve.work_done import WorkMeter


def workers(*boot_ids):
    for replica, boot_id in enumerate(boot_ids):
        one = worker(placement(model=FIRST.model, replica=replica))
        one.boot_id = boot_id
        yield one


async def test_it_is_read_by_the_workers_id_and_start(probe):
    first, rests = workers("a", "b")
    await write_work_done(probe.queue, FIRST.model, "a", WorkDone(1.5, 3, 12))
    await write_work_done(probe.queue, FIRST.model, "earlier start of b", WorkDone(9, 9, 9))

    assert await work_done_of(probe.queue, [first, rests]) == {first.id: WorkDone(1.5, 3, 12)}
    assert await work_done_of(probe.queue, []) == {}


async def test_what_a_later_release_adds_is_left_out(probe):
    (one,) = workers("a")
    await probe.command("SET", probe.keys.work_done + "a", '{"busy_s": 2, "more": [1]}')

    assert await work_done_of(probe.queue, [one]) == {one.id: WorkDone(2, 0, 0)}


async def test_a_meter_adds_up_and_tells_of_what_is_new():
    meter = WorkMeter()
    meter.add(4, 0.5)
    meter.add(2, 0.25)
    both = await meter.take()
    meter.add(1, 1.0)

    assert both == WorkDone(0.75, 2, 6)
    assert await meter.take() == WorkDone(1.75, 3, 7)
