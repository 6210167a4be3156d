"""The registry: facts about what is deployed and who runs."""

import asyncio
import contextlib
import itertools

import pytest
from structlog.testing import capture_logs
from support.records import cpu, node, placement, signature, stage, version, worker
from support.waiting import until

from penstock.errors import InvalidRequest
from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.registry.artifact_facts import ArtifactFacts
from penstock.scheduler.registry.registry import FORGET_MS, Registry, keep_announcing
from penstock.scheduler.registry.snapshot import LIVE_MS, VersionId, signature_id
from penstock.scheduler.store.keys import RegistryKeys
from penstock.scheduler.store.link import Links


@pytest.fixture
async def links(each_redis_url):
    async with Links(each_redis_url) as links:
        yield links


@pytest.fixture
def registry(links):
    return Registry(links)


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


@contextlib.asynccontextmanager
async def following(source):
    """What an endless iterator has given so far."""
    found = []

    async def follow():
        async for one in source:
            found.append(one)  # noqa: PERF401 as they come

    task = asyncio.create_task(follow())
    try:
        yield found
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@contextlib.asynccontextmanager
async def watching(registry):
    """The snapshots that a reader of the registry sees, the first one included."""
    async with following(registry.watch()) as seen:
        await until(lambda: seen)
        yield seen


async def kinds(links):
    entries = await links.to(RegistryKeys.tag).command("XRANGE", RegistryKeys.changes, "-", "+")
    return [fields[1].decode() for _, fields in entries]


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


# signatures


async def test_a_signature_outlives_the_worker_that_found_it(registry):
    found, placed = signature([pb.TensorSpec(name="x", datatype="FP32")], []), placement()
    await registry.publish("repository", [version(stage(fingerprint="f"), model="m")])
    await registry.announce(worker(placed), facts=ArtifactFacts(found))
    await registry.withdraw(worker(placed))
    snapshot = await registry.snapshot()
    await registry.sweep(snapshot)

    published = snapshot.versions[VersionId("m", 1)]
    assert snapshot.signature_of(published, published.stages[0]) == found
    assert (await registry.snapshot()).signatures == snapshot.signatures


async def test_a_signature_goes_with_the_artifact(registry):
    found = signature([], [])
    await registry.publish("repository", [version(stage(fingerprint="old"), model="m")])
    await registry.announce(worker(placement(fingerprint="old")), facts=ArtifactFacts(found))
    await registry.withdraw(worker(placement(fingerprint="old")))
    await registry.publish("repository", [version(stage(fingerprint="new"), model="m")])
    before = await registry.snapshot()
    await registry.sweep(before)

    assert list(before.signatures) == [signature_id("m", 1, 0, "old")]
    assert not (await registry.snapshot()).signatures


# batch proofs


async def found(registry, node_id, proof=None, unsplittable=""):
    """What stands after a worker on that node has said what it found."""
    facts = ArtifactFacts(signature([], []), proof, unsplittable)
    return await registry.announce(worker(placement(node_id)), facts=facts)


async def test_of_two_batch_proofs_the_first_stands(links, registry):
    """A configuration that is completed from them must not change to and fro."""
    proved, refuted = pb.BatchProof(proved=True, why="equal"), pb.BatchProof(why="they differ")
    record = version(model="m")
    await registry.publish("repository", [record])

    first = [await found(registry, "a", proved), await found(registry, "b", refuted)]
    events = len(await kinds(links))
    again = [await found(registry, "a", proved), await found(registry, "b", refuted)]

    assert [one.proof for one in (*first, *again)] == [proved] * 4
    assert (await registry.snapshot()).batch_proof_of(record, record.stages[0]) == proved
    assert len(await kinds(links)) == events


async def test_a_worker_that_tried_nothing_says_nothing(registry):
    """As one of an older release."""
    record = version(model="m")

    assert (await found(registry, "a")).proof is None
    assert (await registry.snapshot()).batch_proof_of(record, record.stages[0]) is None


async def test_a_batch_that_could_not_be_split_is_told_to_all_who_have_the_artifact(registry):
    record = version(model="m")
    await registry.publish("repository", [record])

    before = await found(registry, "a")
    await found(registry, "b", unsplittable="no rows")

    assert before.unsplittable == ""
    assert (await found(registry, "a")).unsplittable == "no rows"
    assert (await registry.snapshot()).unsplittable_of(record) == "no rows"


async def test_what_is_known_of_batches_goes_with_the_artifact(registry):
    await found(registry, "a", pb.BatchProof(proved=True), "no rows")
    await registry.withdraw(worker(placement("a")))
    before = await registry.snapshot()
    await registry.sweep(before)
    after = await registry.snapshot()

    assert (len(before.batch_proofs), len(before.unsplittable)) == (1, 1)
    assert (after.batch_proofs, after.unsplittable) == ({}, {})


# versions


async def test_what_a_source_publishes_replaces_what_it_had(links, registry):
    one, two, three = (version(model="m", number=number) for number in (1, 2, 3))
    changed = version(model="m", number=2, replicas=5)

    counts = [
        await registry.publish("repository", [one, two]),
        await registry.publish("repository", [one, two]),
        await registry.publish("repository", [changed, three]),
    ]

    assert counts == [2, 0, 3]
    snapshot = await registry.snapshot()
    assert snapshot.versions_of("m") == [changed, three]
    assert sorted((await kinds(links))[2:]) == [
        "version.published",
        "version.published",
        "version.removed",
    ]


async def test_sources_do_not_remove_each_others_versions(registry):
    await registry.publish("a", [version(model="of-a")])
    await registry.publish("ab", [version(model="of-ab")])
    await registry.publish("a", [])

    assert list((await registry.snapshot()).versions) == [VersionId("of-ab", 1)]


async def test_of_two_sources_the_first_by_name_has_the_version(registry):
    await registry.publish("b", [version(model="m", replicas=2)])
    await registry.publish("a", [version(model="m", replicas=1)])

    assert (await registry.snapshot()).versions[VersionId("m", 1)].replicas == 1


async def test_a_source_has_no_slash(registry):
    with pytest.raises(ValueError, match="no slash"):
        await registry.publish("a/b", [])


# placements


async def test_a_plan_replaces_the_one_before(registry):
    first, second = placement("n", device="cpu:0"), placement("n", 1, device="cpu:1")

    assert await registry.place(0, [first, second]) == 1
    assert await registry.place(1, [second]) == 2
    snapshot = await registry.snapshot()
    assert (snapshot.revision, snapshot.placements) == (2, (second,))


async def test_a_plan_made_from_an_older_one_is_refused(links, registry):
    await registry.place(0, [placement("first")])

    assert await registry.place(0, [placement("late")]) is None
    assert await registry.place(7, [placement("early")]) is None
    assert [one.node for one in (await registry.snapshot()).placements] == ["first"]
    assert await kinds(links) == ["placement.changed"]


async def test_of_many_plans_at_once_one_is_taken(registry):
    answers = await asyncio.gather(*(registry.place(0, [placement(f"n{i}")]) for i in range(9)))

    assert sorted(answer or 0 for answer in answers) == [0] * 8 + [1]


# reading


async def test_records_that_did_not_change_are_the_same_objects(registry):
    await registry.announce(node("same"))
    await registry.announce(node("other"))
    before = await registry.snapshot()
    await registry.announce(node("other", cpu(), cpu(index=1)))
    after = await registry.snapshot()

    assert after.nodes["same"] is before.nodes["same"]
    assert after.nodes["other"] != before.nodes["other"]


async def test_a_watcher_sees_a_change_at_once(registry):
    async with watching(registry) as seen:
        before = len(seen)
        await registry.announce(node("n"))
        async with asyncio.timeout(0.9):
            await until(lambda: "n" in seen[-1].nodes)

        assert len(seen) > before


async def test_a_watcher_looks_every_second_although_nothing_changes(registry):
    async with watching(registry) as seen:
        await until(lambda: len(seen) >= 2)

    times = [snapshot.now_ms for snapshot in seen]
    assert all(500 < later - sooner < 5000 for sooner, later in itertools.pairwise(times))


async def test_changes_that_come_together_are_seen_together(registry):
    async with watching(registry) as seen:
        await asyncio.gather(*(registry.announce(node(f"n{i}")) for i in range(50)))
        await until(lambda: len(seen[-1].nodes) == 50)

    assert len(seen) <= 5


async def test_a_watcher_waits_for_a_store_that_comes_back(store):
    async with Links(store.url, patience_s=0.1) as links:
        registry = Registry(links)
        async with watching(registry) as seen:
            store.kill()
            await until(lambda: links.to(RegistryKeys.tag).down_for_s() > 0.3)
            store.start()
            await until(lambda: links.to(RegistryKeys.tag).up)
            await registry.announce(node("n"))
            await until(lambda: "n" in seen[-1].nodes)


async def test_events_tell_who_did_what(registry):
    await registry.announce(node("before"))
    change_id = (await registry.snapshot()).change_id
    await registry.announce(worker(placement(), pb.WORKER_STATE_FAILED, "no memory"))
    await registry.announce(node("n"), event="node.joined", detail="by hand")
    async with following(registry.events(change_id)) as events:
        await until(lambda: len(events) == 2)

    told = [(event.kind, event.subject, event.detail) for event in events]
    assert told == [
        ("worker.failed", worker(placement()).id, "no memory"),
        ("node.joined", "n", "by hand"),
    ]
    assert all(event.time_ms > 0 for event in events)
    assert len({event.id for event in events}) == 2


async def test_events_begin_now_unless_they_are_to_go_on(registry):
    await registry.announce(node("before"))
    async with following(registry.events()) as events:

        async def heard():
            await registry.announce(node("later"))
            await registry.withdraw(node("later"))
            return events

        await until(heard)

    assert all(event.subject == "later" for event in events)


async def _connections(links):
    listed = await links.to(RegistryKeys.tag).command("CLIENT", "LIST")
    return len(listed.splitlines())


async def test_many_who_follow_events_share_one_connection(store):
    async with Links(store.url) as links:
        registry = Registry(links)
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(watching(registry))
            before = await _connections(links)
            followers = [
                await stack.enter_async_context(following(registry.events("0"))) for _ in range(50)
            ]
            await registry.announce(node("n"))
            await until(lambda: all(followers))

            assert await _connections(links) == before


@pytest.mark.parametrize("id_", ["yesterday", "1-", "-", "1-2-3", "$", "+"])
async def test_what_is_no_events_id_is_refused(registry, id_):
    with pytest.raises(InvalidRequest, match="is not the id of an event"):
        await anext(registry.events(id_))


async def test_what_this_release_cannot_read_is_said_once_and_hides_nothing_else(links, registry):
    await registry.publish("repository", [version(), version(model="later")])
    await registry.announce(node("n"))
    link = links.to(RegistryKeys.tag)
    unreadable = version(model="later")
    unreadable.config = b"\xff"
    for key, name, content in (
        (RegistryKeys.versions, "repository/later/1/", unreadable.SerializeToString()),
        (RegistryKeys.workers, "w", b"\xff"),
        (RegistryKeys.placements, "p", b"\xff"),
    ):
        await link.command("HSET", key, name, content)

    with capture_logs() as written:
        seen = [await registry.snapshot() for _ in range(3)][-1]

    assert seen.versions[VersionId("m", 1)] == version()
    assert "cannot read its configuration" in seen.versions[VersionId("later", 1)].error
    assert list(seen.nodes) == ["n"]
    assert (seen.workers, seen.placements) == ({}, ())
    assert sorted(line["record"] for line in written) == ["Placement p", "Worker w"]
