"""A node says of all its workers at once that they live."""

from support.records import node, placement, worker

from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.registry.snapshot import LIVE_MS
from penstock.scheduler.store.keys import RegistryKeys


async def age(links, member, ago_ms):
    link = links.to(RegistryKeys.tag)
    await link.command("ZINCRBY", RegistryKeys.seen, -ago_ms, member)


async def test_workers_live_on_without_saying_so_themselves(links, registry):
    records = [worker(placement(replica=number)) for number in range(3)]
    for record in (node("n"), *records):
        await registry.announce(record)
    for record in records:
        await age(links, f"workers/{record.id}", LIVE_MS - 500)
    before = (await registry.snapshot()).change_id

    assert await registry.see_workers([one.id for one in records[:2]]) == 2
    snapshot = await registry.snapshot()

    seen_ms = [snapshot.seen_ms[f"workers/{one.id}"] for one in records]
    assert min(seen_ms[:2]) > seen_ms[2]
    assert snapshot.change_id == before
    assert list(snapshot.workers.values()) == records


async def test_who_is_not_known_or_was_silent_says_itself_what_it_is(links, registry):
    silent, unknown = worker(placement(replica=0)), worker(placement(replica=1))
    await registry.announce(silent)
    await registry.announce(pb.Gateway(id="g"))
    await age(links, f"workers/{silent.id}", LIVE_MS + 500)

    assert await registry.see_workers([silent.id, unknown.id]) == 0

    assert (await registry.snapshot()).live == {"gateways/g"}


async def test_a_worker_that_left_does_not_come_back(registry):
    gone = worker(placement())
    await registry.announce(node("n"))
    await registry.announce(gone)
    await registry.withdraw(gone)

    assert await registry.see_workers([gone.id]) == 0
    assert not (await registry.snapshot()).workers
