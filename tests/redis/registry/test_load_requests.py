"""Load requests and their results: the latest counts, and nothing is kept that nobody needs."""

import asyncio
import hashlib

import pytest
from support.records import version
from support.waiting import until

from penstock.errors import ArtifactUnusable
from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.registry.load_requests import LoadRequests
from penstock.scheduler.registry.registry import Registry
from penstock.scheduler.registry.snapshot import VersionId
from penstock.scheduler.store.keys import RegistryKeys
from penstock.scheduler.store.link import Links


@pytest.fixture
async def links(each_redis_url):
    async with Links(each_redis_url) as links:
        yield links


@pytest.fixture
async def load_requests(links):
    return LoadRequests(links)


@pytest.fixture
async def registry(links):
    return Registry(links)


def load_request(id_, model="m", **fields):
    return pb.LoadRequest(model=model, id=id_, **fields)


def content(revision_id, model="m"):
    return version(model=model, revision_id=revision_id)


async def test_the_latest_load_request_counts(load_requests, registry):
    await load_requests.put(load_request("first"))
    await load_requests.put(load_request("second", unload=True))

    assert (await registry.snapshot()).load_requests == {"m": load_request("second", unload=True)}


async def test_a_load_request_in_place_of_another_needs_that_one(load_requests, registry):
    assert await load_requests.replace(None, load_request("first"))
    assert await load_requests.replace(None, load_request("first"))
    assert not await load_requests.replace(None, load_request("late"))
    assert await load_requests.replace(load_request("first"), load_request("second"))
    assert not await load_requests.replace(load_request("first"), load_request("late"))

    assert (await registry.snapshot()).load_requests["m"].id == "second"


async def test_an_answer_replaces_the_models_versions(load_requests, registry):
    await registry.publish("repository", [content("old"), content("other", "n")])
    await load_requests.put(load_request("w"))

    changed = await load_requests.answer(
        "m", load_request("w"), pb.LoadResult(load_request="w"), [content("new")]
    )
    snapshot = await registry.snapshot()

    assert changed == 2
    assert snapshot.load_results == {"m": pb.LoadResult(load_request="w")}
    assert snapshot.versions[VersionId("m", 1)].revision_id == "new"
    assert snapshot.versions[VersionId("n", 1)].revision_id == "other"
    assert [one.record.revision_id for one in snapshot.outgoing] == ["old"]


async def test_an_answer_given_twice_changes_nothing(load_requests):
    await load_requests.put(load_request("w"))
    answer = (load_request("w"), pb.LoadResult(load_request="w"), [content("new")])

    assert [await load_requests.answer("m", *answer), await load_requests.answer("m", *answer)] == [
        1,
        0,
    ]


async def test_an_answer_to_an_older_load_request_is_refused(load_requests, registry):
    await load_requests.put(load_request("new"))

    assert (
        await load_requests.answer(
            "m", load_request("old"), pb.LoadResult(load_request="old"), [content("x")]
        )
        is None
    )
    assert not (await registry.snapshot()).versions


async def test_models_are_offered_as_a_whole(load_requests, registry):
    counts = [
        await load_requests.set_available(names) for names in (["a", "b"], ["a", "b"], ["b", "c"])
    ]

    assert counts == [2, 0, 2]
    assert (await registry.snapshot()).available == {"b", "c"}


async def test_a_reader_hears_of_offers_when_they_become_others(registry, load_requests):
    """There may be thousands: a change of something else does not bring them again."""
    await load_requests.set_available(["a", "b"])
    first = await registry.snapshot()
    await registry.announce(pb.Node(id="n"))
    second = await registry._snapshot_after(first)
    await load_requests.set_available(["b", "c"])
    third = await registry._snapshot_after(second)

    assert second.available is first.available
    assert (first.available, third.available) == ({"a", "b"}, {"b", "c"})


async def test_offers_of_an_older_scheduler_are_read_each_time(registry, links):
    """It says when they become others to nobody but those who read all."""
    link = links.to(RegistryKeys.tag)
    await link.command("SADD", RegistryKeys.available, "a")
    first = await registry.snapshot()
    await link.command("SADD", RegistryKeys.available, "b")
    await registry.announce(pb.Node(id="n"))
    second = await registry._snapshot_after(first)

    assert (first.available, second.available) == ({"a"}, {"a", "b"})


async def test_use_is_remembered_and_tells_nobody(load_requests, registry):
    before = (await registry.snapshot()).change_id
    await load_requests.use({"m": 0, "n": 60_000})
    await load_requests.use({"m": 60_000, "n": 0})
    snapshot = await registry.snapshot()

    for model in ("m", "n"):
        assert snapshot.now_ms - 5000 < snapshot.used_ms[model] <= snapshot.now_ms
    assert snapshot.change_id == before


class TestFiles:
    CONTENT = bytes(range(256)) * 10_000

    async def kept(self, load_requests, content=CONTENT):
        return pb.File(
            path="1/model.onnx", digest=await load_requests.keep(content), size=len(content)
        )

    @pytest.mark.parametrize("content", [b"", b"x", CONTENT])
    async def test_a_content_comes_back(self, load_requests, content):
        assert await load_requests.fetch(await self.kept(load_requests, content)) == content

    async def test_a_content_goes_when_its_load_request_never_comes(self, links, load_requests):
        file = await self.kept(load_requests)
        link, key = links.to(RegistryKeys.tag), RegistryKeys.contents + file.digest

        assert await link.command("PTTL", key) > 0

        await load_requests.put(load_request("w", files=[file]))

        assert await link.command("PTTL", key) == -1

    async def test_a_gateway_that_dies_on_the_way_leaves_nothing_for_ever(
        self, links, load_requests
    ):
        content = bytes(32 << 20)
        digest = hashlib.blake2b(content, digest_size=16).hexdigest()
        link, key = links.to(RegistryKeys.tag), RegistryKeys.contents + digest
        keeping = asyncio.create_task(load_requests.keep(content))
        await until(lambda: link.command("EXISTS", key))
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)

        assert await link.command("STRLEN", key) < len(content)
        assert await link.command("PTTL", key) > 0

    async def test_a_content_that_is_needed_stays_when_it_comes_again(self, links, load_requests):
        file = await self.kept(load_requests)
        await load_requests.put(load_request("w", files=[file]))
        await self.kept(load_requests)

        key = RegistryKeys.contents + file.digest
        assert await links.to(RegistryKeys.tag).command("PTTL", key) == -1

    async def test_a_load_request_for_a_content_that_is_gone_is_refused(
        self, load_requests, registry
    ):
        file = pb.File(path="1/model.onnx", digest="none", size=3)

        with pytest.raises(ArtifactUnusable, match=r"1/model\.onnx"):
            await load_requests.put(load_request("w", files=[file]))
        with pytest.raises(ArtifactUnusable, match="load it again"):
            await load_requests.fetch(file)
        assert not (await registry.snapshot()).load_requests

    async def test_a_content_stays_while_anything_needs_it(self, load_requests, registry):
        file = await self.kept(load_requests)
        await load_requests.put(load_request("w", files=[file]))
        served = content("g")
        served.files.append(file)
        await registry.publish("repository", [served])
        await load_requests.put(load_request("other"))

        assert await load_requests.tidy(await registry.snapshot()) == 0
        assert await load_requests.fetch(file) == self.CONTENT

    async def test_a_content_goes_when_nothing_needs_it(self, load_requests, registry):
        file = await self.kept(load_requests)
        await load_requests.put(load_request("w", files=[file]))
        await load_requests.put(load_request("other"))

        assert await load_requests.tidy(await registry.snapshot()) == 1
        with pytest.raises(ArtifactUnusable):
            await load_requests.fetch(file)
        assert not (await registry.snapshot()).files

    async def test_a_content_that_was_requested_meanwhile_stays(self, load_requests, registry):
        file = await self.kept(load_requests)
        await load_requests.put(load_request("w", files=[file]))
        await load_requests.put(load_request("other"))
        seen = await registry.snapshot()
        await load_requests.put(load_request("again", files=[file]))

        assert await load_requests.tidy(seen) == 0
        assert await load_requests.fetch(file) == self.CONTENT


class TestTidy:
    async def test_an_old_load_request_for_a_model_that_is_nowhere_goes(
        self, load_requests, registry
    ):
        await load_requests.put(load_request("w", unload=True, time_ms=1))
        await load_requests.answer(
            "m", load_request("w", unload=True, time_ms=1), pb.LoadResult(load_request="w"), []
        )

        assert await load_requests.tidy(await registry.snapshot()) == 1
        snapshot = await registry.snapshot()
        assert not snapshot.load_requests
        assert not snapshot.load_results

    async def test_one_for_a_model_that_is_offered_stays(self, load_requests, registry):
        await load_requests.set_available(["m"])
        await load_requests.put(load_request("w", time_ms=1))
        await load_requests.answer(
            "m", load_request("w", time_ms=1), pb.LoadResult(load_request="w"), []
        )

        assert await load_requests.tidy(await registry.snapshot()) == 0

    async def test_one_that_has_no_answer_stays(self, load_requests, registry):
        await load_requests.put(load_request("w", time_ms=1))

        assert await load_requests.tidy(await registry.snapshot()) == 0
