"""Each content of a version has queues of its own; statistics and limits are the version's."""

from support.probe import FIRST, job

from penstock.models.config.policies import QueueLimits
from penstock.scheduler.observe.counters import statistics_of
from penstock.scheduler.observe.loads import depths_of

OLD, NEW = FIRST._replace(revision_id="aa11"), FIRST._replace(revision_id="bb22")


async def test_a_worker_gets_jobs_of_its_own_content_alone(probe):
    await probe.enqueue("for-old", ref=OLD)
    await probe.enqueue("for-new", ref=NEW)

    new = await probe.claim(ref=NEW)

    assert [lease.id for lease in new.leases] == ["for-new"]
    assert (await depths_of(probe.queue, [OLD, NEW]))[OLD].waiting == 1


async def test_statistics_are_those_of_the_version(probe):
    for ref in (OLD, NEW):
        await probe.enqueue(f"job-{ref.revision_id}", ref=ref)
        await probe.queue.cancel(ref.model, f"job-{ref.revision_id}")

    counters = await statistics_of(probe.queue, FIRST.model, FIRST.version)
    assert (counters["accepted"], counters["cancelled"]) == (2, 2)


async def test_bytes_are_limited_over_all_contents(probe):
    limits = QueueLimits(payload_bytes=15)
    await probe.enqueue("one", ref=OLD, payload=b"x" * 10, limits=limits)

    (refused,) = await probe.offer(job("two", ref=NEW, payload=b"x" * 10), limits=limits)

    assert isinstance(refused, Exception)
