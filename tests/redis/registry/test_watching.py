"""The registry: what its readers see, and when."""

import asyncio
import contextlib
import itertools

import pytest
from structlog.testing import capture_logs
from support.records import cpu, node, placement, version, worker
from support.registry import following, watching
from support.waiting import until

from penstock.errors import InvalidRequest
from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.registry.load_requests import LoadRequests
from penstock.scheduler.registry.records import SnapshotReader
from penstock.scheduler.registry.registry import HASHES, Registry
from penstock.scheduler.registry.snapshot import LIVE_MS, VersionId
from penstock.scheduler.store.keys import RegistryKeys
from penstock.scheduler.store.link import Links
from penstock.scheduler.store.scripts import load


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


async def test_looks_at_what_did_not_change_say_the_same(registry):
    """Of hundreds of workers, each look would cost every reader some hundredths of a second.

    Those that read everything do as well, of which there is one in every five.
    """
    await registry.announce(worker(placement()))
    async with watching(registry) as seen:
        await until(lambda: len(seen) >= 3)
        first = seen[-1]
        await until(lambda: any(one.workers is not first.workers for one in seen[2:]), 20)
        second = seen[-1]
        await registry.announce(node("n"))
        await until(lambda: "n" in seen[-1].nodes)

    assert second.says_the_same(first)
    assert second.now_ms > first.now_ms
    assert not seen[-1].says_the_same(first)
    assert seen[-1].workers == first.workers


async def test_what_changed_without_a_word_is_seen_some_looks_later(links, registry):
    await registry.announce(node("n"))
    async with watching(registry) as seen:
        await until(lambda: len(seen) >= 2)
        await links.to(RegistryKeys.tag).command("HDEL", RegistryKeys.nodes, "n")
        await until(lambda: not seen[-1].nodes, 20)


async def test_who_falls_silent_is_missed_though_nothing_changes(links, registry):
    """Those who live are not read again while they are as many as before."""
    for id_ in "ab":
        await registry.announce(node(id_))
    async with watching(registry) as seen:
        await until(lambda: seen and len(seen[-1].live) == 2)
        change_id = seen[-1].change_id
        await links.to(RegistryKeys.tag).command(
            "ZINCRBY", RegistryKeys.seen, -LIVE_MS - 500, "nodes/b"
        )
        await until(lambda: seen[-1].live == {"nodes/a"})

        assert seen[-1].change_id == change_id
        # As many as before live again, and others: whoever comes back is a change.
        await registry.announce(node("b"))
        await until(lambda: seen[-1].live == {"nodes/a", "nodes/b"})


async def test_a_use_is_seen_though_nothing_changes(links, registry):
    uses = LoadRequests(links)
    await uses.use({"m": 5000})
    async with watching(registry) as seen:
        await until(lambda: len(seen) >= 3 and seen[-1].used_ms)
        first = seen[-1]
        await uses.use({"m": 0})
        await until(lambda: seen[-1].used_ms["m"] > first.used_ms["m"] + 4000)

        assert seen[-1].change_id == first.change_id


async def test_a_look_at_what_did_not_change_is_short(links, registry):
    """Of hundreds of models, who lives and what was used would be thousands of words."""
    await registry.announce(node("n"))
    await LoadRequests(links).use({"m": 0})
    reader, link = SnapshotReader(), links.to(RegistryKeys.tag)

    async def look(known):
        answer = await link.call(load("registry_snapshot"), RegistryKeys.prefix, (*known, "nodes"))
        return [part is not None for part in answer[-2:]], len(answer)

    first = await registry.snapshot()
    reader.read(
        await link.call(load("registry_snapshot"), RegistryKeys.prefix, ("", "", "", 0, *HASHES))
    )
    known = reader.known(first)

    assert await look(known) == ([False, False], 6)
    assert await look((*known[:3], 2)) == ([False, True], 6)
    await LoadRequests(links).use({"m": 0})
    assert await look(known) == ([True, False], 6)
    await registry.announce(node("other"))
    whole, parts = await look(known)
    assert whole == [True, True]
    assert parts > 6


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
    await registry.announce(node("n"))
    async with following(registry.events(change_id)) as events:
        await until(lambda: len(events) == 2)

    told = [(event.kind, event.subject, event.detail) for event in events]
    assert told == [
        ("worker.failed", worker(placement()).id, "no memory"),
        ("node.seen", "n", ""),
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
