"""The registry: processes that announce themselves, fall silent, and are forgotten."""

import asyncio

from support.records import node, placement, worker
from support.registry import kinds
from support.waiting import until

from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.registry.registry import FORGET_MS, Registry, keep_announcing
from penstock.scheduler.registry.snapshot import LIVE_MS
from penstock.scheduler.store.keys import RegistryKeys
from penstock.scheduler.store.link import Links


async def age(links, **seen_ms_ago):
    """Make it so long ago that somebody was seen; names have two underscores for the slash."""
    link = links.to(RegistryKeys.tag)
    for name, ago_ms in seen_ms_ago.items():
        member = name.replace("__", "/")
        await link.command("ZINCRBY", RegistryKeys.seen, -ago_ms, member)


async def seen_alone(links, registry, *records, ago_ms):
    """Records that were last seen so long ago, while somebody else was seen all the time."""
    for record in records:
        await registry.announce(record)
    for member in await links.to(RegistryKeys.tag).command("ZRANGE", RegistryKeys.seen, 0, -1):
        await links.to(RegistryKeys.tag).command("ZINCRBY", RegistryKeys.seen, -ago_ms, member)
    # Not by `announce`, which would find that nobody was seen for long.
    now_ms = (await registry.snapshot()).now_ms
    await links.to(RegistryKeys.tag).command("ZADD", RegistryKeys.seen, now_ms, "gateways/watcher")


# processes


async def test_an_empty_registry_is_an_empty_snapshot(registry):
    snapshot = await registry.snapshot()

    assert not snapshot.versions
    assert not snapshot.nodes
    assert not snapshot.live
    assert (snapshot.revision, snapshot.change_id) == (0, "0-0")
    assert snapshot.now_ms > 0


async def test_whoever_announces_itself_is_known_and_alive(registry):
    placed = placement()
    records = [node("n"), worker(placed), pb.Gateway(id="g"), pb.Scheduler(id="s")]
    for record in records:
        await registry.announce(record)

    snapshot = await registry.snapshot()

    assert [
        *snapshot.nodes.values(),
        *snapshot.workers.values(),
        *snapshot.gateways.values(),
        *snapshot.schedulers.values(),
    ] == records
    assert snapshot.live == {"nodes/n", f"workers/{records[1].id}", "gateways/g", "schedulers/s"}
    assert snapshot.live_nodes() == records[:1]
    assert snapshot.live_workers() == records[1:2]


async def test_a_process_that_changes_replaces_its_record(registry):
    await registry.announce(node("n"))
    await registry.announce(node("n", draining=True))

    assert list((await registry.snapshot()).nodes.values()) == [node("n", draining=True)]


async def test_only_changes_are_events(links, registry):
    placed = placement()
    for record in (
        node("n"),
        node("n"),
        node("n", draining=True),
        worker(placed, pb.WORKER_STATE_LOADING),
        worker(placed),
        worker(placed),
    ):
        await registry.announce(record)

    assert await kinds(links) == ["node.seen", "node.draining", "worker.loading", "worker.ready"]


async def test_who_was_not_seen_for_long_is_not_alive(links, registry):
    await seen_alone(links, registry, node("n"), ago_ms=LIVE_MS + 1000)

    snapshot = await registry.snapshot()

    assert list(snapshot.nodes) == ["n"]
    assert snapshot.live == {"gateways/watcher"}
    assert snapshot.live_nodes() == []


async def test_coming_back_after_a_silence_is_an_event(links, registry):
    await seen_alone(links, registry, node("n"), ago_ms=LIVE_MS + 1000)

    await registry.announce(node("n"))

    assert await kinds(links) == ["node.seen", "node.seen"]
    assert "nodes/n" in (await registry.snapshot()).live


async def test_whoever_withdraws_is_gone_at_once(links, registry):
    await registry.announce(node("n"))
    await registry.withdraw(node("n"))
    await registry.withdraw(node("n"))
    snapshot = await registry.snapshot()

    assert not snapshot.nodes
    assert not snapshot.live
    assert await kinds(links) == ["node.seen", "node.left"]


async def test_a_time_at_which_nobody_could_be_seen_is_held_against_nobody(links, registry):
    await registry.announce(node("quick"))
    await registry.announce(node("slow"))
    await age(links, nodes__quick=20_000, nodes__slow=21_000)
    away = await registry.snapshot()

    # The store is back, and one of them is faster than the other.
    await registry.announce(node("quick"))
    back = await registry.snapshot()

    assert away.live == {"nodes/quick", "nodes/slow"}
    assert back.live == {"nodes/quick", "nodes/slow"}


async def test_an_outage_shorter_than_the_silence_of_a_dead_process_makes_nobody_dead(
    links, registry
):
    """The slow one would have spoken when the store had just gone away."""
    await registry.announce(node("quick"))
    await registry.announce(node("slow"))
    await age(links, nodes__quick=2_500, nodes__slow=3_400)

    await registry.announce(node("quick"))

    assert (await registry.snapshot()).live == {"nodes/quick", "nodes/slow"}


async def test_who_had_no_time_to_speak_between_two_outages_lives(links, registry):
    await registry.announce(node("quick"))
    await registry.announce(node("slow"))
    await age(links, nodes__quick=12_000, nodes__slow=12_500)
    await registry.announce(node("quick"))

    # Back for so short a time that the quick one alone was seen.
    marks = {"gap__from": 12_000, "gap__until": 12_000}
    await age(links, nodes__quick=12_000, nodes__slow=12_000, **marks)
    await registry.announce(node("quick"))

    assert (await registry.snapshot()).live == {"nodes/quick", "nodes/slow"}


async def test_who_died_before_that_time_is_dead_after_it(links, registry):
    await registry.announce(node("alive"))
    await registry.announce(node("dead"))
    await age(links, nodes__alive=20_000, nodes__dead=20_000 + LIVE_MS + 1000)

    await registry.announce(node("alive"))

    assert (await registry.snapshot()).live == {"nodes/alive"}


async def test_a_very_long_silence_of_all_is_not_forgiven(links, registry):
    await registry.announce(node("n"))
    await age(links, nodes__n=FORGET_MS)

    assert (await registry.snapshot()).live == set()


async def test_announcing_goes_on_through_an_outage(store):
    async with Links(store.url, patience_s=0.1) as links:
        registry = Registry(links)
        task = asyncio.create_task(keep_announcing(registry, node("n")))

        async def alive():
            return "nodes/n" in (await registry.snapshot()).live

        await until(alive)
        store.kill()
        await until(lambda: links.to(RegistryKeys.tag).down_for_s() > 0.3)
        store.start()
        await until(lambda: links.to(RegistryKeys.tag).up)
        await links.to(RegistryKeys.tag).command("DEL", RegistryKeys.nodes, RegistryKeys.seen)
        await until(alive)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


# sweeping


async def test_who_was_silent_for_very_long_is_forgotten(links, registry):
    placed = placement()
    await seen_alone(
        links,
        registry,
        *(node("n"), worker(placed), pb.Gateway(id="g"), pb.Scheduler(id="s")),
        ago_ms=FORGET_MS + 5000,
    )
    snapshot = await registry.snapshot()

    forgotten = [await registry.sweep(snapshot) for _ in range(2)]
    after = await registry.snapshot()

    assert forgotten == [4, 0]
    assert not {**after.nodes, **after.workers, **after.gateways, **after.schedulers}
    assert set(after.seen_ms) == {"gateways/watcher"}
    assert (await kinds(links))[4:8] == [
        "node.forgotten",
        "worker.forgotten",
        "gateway.forgotten",
        "scheduler.forgotten",
    ]


async def test_who_was_seen_since_the_sweeper_looked_stays(links, registry):
    await seen_alone(links, registry, node("n"), ago_ms=FORGET_MS + 5000)
    snapshot = await registry.snapshot()
    await registry.announce(node("n"))

    assert await registry.sweep(snapshot) == 0
    assert list((await registry.snapshot()).nodes) == ["n"]


async def test_who_is_silent_for_less_is_kept(links, registry):
    await seen_alone(links, registry, node("n"), ago_ms=FORGET_MS - 5000)

    assert await registry.sweep(await registry.snapshot()) == 0
    assert list((await registry.snapshot()).nodes) == ["n"]
