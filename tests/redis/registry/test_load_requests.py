"""Wishes and their answers: the latest counts, and nothing is kept that nobody needs."""

import asyncio
import hashlib

import pytest
from support.records import version
from support.waiting import until

from penstock.errors import ArtifactUnusable
from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.registry.load_requests import Wishes
from penstock.scheduler.registry.registry import Registry
from penstock.scheduler.registry.snapshot import VersionId
from penstock.scheduler.store.keys import RegistryKeys
from penstock.scheduler.store.link import Links


@pytest.fixture
async def links(each_redis_url):
    async with Links(each_redis_url) as links:
        yield links


@pytest.fixture
async def wishes(links):
    return Wishes(links)


@pytest.fixture
async def registry(links):
    return Registry(links)


def wish(id_, model="m", **fields):
    return pb.Wish(model=model, id=id_, **fields)


def content(generation, model="m"):
    return version(model=model, generation=generation)


async def test_the_latest_wish_counts(wishes, registry):
    await wishes.wish(wish("first"))
    await wishes.wish(wish("second", unload=True))

    assert (await registry.snapshot()).wishes == {"m": wish("second", unload=True)}


async def test_a_wish_in_place_of_another_needs_that_one(wishes, registry):
    assert await wishes.wish_instead(None, wish("first"))
    assert await wishes.wish_instead(None, wish("first"))
    assert not await wishes.wish_instead(None, wish("late"))
    assert await wishes.wish_instead(wish("first"), wish("second"))
    assert not await wishes.wish_instead(wish("first"), wish("late"))

    assert (await registry.snapshot()).wishes["m"].id == "second"


async def test_an_answer_replaces_the_models_versions(wishes, registry):
    await registry.publish("repository", [content("old"), content("other", "n")])
    await wishes.wish(wish("w"))

    changed = await wishes.answer("m", wish("w"), pb.Answer(wish="w"), [content("new")])
    snapshot = await registry.snapshot()

    assert changed == 2
    assert snapshot.answers == {"m": pb.Answer(wish="w")}
    assert snapshot.versions[VersionId("m", 1)].generation == "new"
    assert snapshot.versions[VersionId("n", 1)].generation == "other"
    assert [one.record.generation for one in snapshot.retiring] == ["old"]


async def test_an_answer_given_twice_changes_nothing(wishes):
    await wishes.wish(wish("w"))
    answer = (wish("w"), pb.Answer(wish="w"), [content("new")])

    assert [await wishes.answer("m", *answer), await wishes.answer("m", *answer)] == [1, 0]


async def test_an_answer_to_an_older_wish_is_refused(wishes, registry):
    await wishes.wish(wish("new"))

    assert await wishes.answer("m", wish("old"), pb.Answer(wish="old"), [content("x")]) is None
    assert not (await registry.snapshot()).versions


async def test_models_are_offered_as_a_whole(wishes, registry):
    counts = [await wishes.offer(names) for names in (["a", "b"], ["a", "b"], ["b", "c"])]

    assert counts == [2, 0, 2]
    assert (await registry.snapshot()).offers == {"b", "c"}


async def test_use_is_remembered_and_tells_nobody(wishes, registry):
    before = (await registry.snapshot()).change_id
    await wishes.use({"m": 0, "n": 60_000})
    await wishes.use({"m": 60_000, "n": 0})
    snapshot = await registry.snapshot()

    for model in ("m", "n"):
        assert snapshot.now_ms - 5000 < snapshot.used_ms[model] <= snapshot.now_ms
    assert snapshot.change_id == before


class TestFiles:
    CONTENT = bytes(range(256)) * 10_000

    async def kept(self, wishes, content=CONTENT):
        return pb.File(path="1/model.onnx", digest=await wishes.keep(content), size=len(content))

    @pytest.mark.parametrize("content", [b"", b"x", CONTENT])
    async def test_a_content_comes_back(self, wishes, content):
        assert await wishes.fetch(await self.kept(wishes, content)) == content

    async def test_a_content_goes_when_its_wish_never_comes(self, links, wishes):
        file = await self.kept(wishes)
        link, key = links.to(RegistryKeys.tag), RegistryKeys.contents + file.digest

        assert await link.command("PTTL", key) > 0

        await wishes.wish(wish("w", files=[file]))

        assert await link.command("PTTL", key) == -1

    async def test_a_gateway_that_dies_on_the_way_leaves_nothing_for_ever(self, links, wishes):
        content = bytes(32 << 20)
        digest = hashlib.blake2b(content, digest_size=16).hexdigest()
        link, key = links.to(RegistryKeys.tag), RegistryKeys.contents + digest
        keeping = asyncio.create_task(wishes.keep(content))
        await until(lambda: link.command("EXISTS", key))
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)

        assert await link.command("STRLEN", key) < len(content)
        assert await link.command("PTTL", key) > 0

    async def test_a_content_that_is_needed_stays_when_it_comes_again(self, links, wishes):
        file = await self.kept(wishes)
        await wishes.wish(wish("w", files=[file]))
        await self.kept(wishes)

        key = RegistryKeys.contents + file.digest
        assert await links.to(RegistryKeys.tag).command("PTTL", key) == -1

    async def test_a_wish_for_a_content_that_is_gone_is_refused(self, wishes, registry):
        file = pb.File(path="1/model.onnx", digest="none", size=3)

        with pytest.raises(ArtifactUnusable, match=r"1/model\.onnx"):
            await wishes.wish(wish("w", files=[file]))
        with pytest.raises(ArtifactUnusable, match="load it again"):
            await wishes.fetch(file)
        assert not (await registry.snapshot()).wishes

    async def test_a_content_stays_while_anything_needs_it(self, wishes, registry):
        file = await self.kept(wishes)
        await wishes.wish(wish("w", files=[file]))
        served = content("g")
        served.files.append(file)
        await registry.publish("repository", [served])
        await wishes.wish(wish("other"))

        assert await wishes.tidy(await registry.snapshot()) == 0
        assert await wishes.fetch(file) == self.CONTENT

    async def test_a_content_goes_when_nothing_needs_it(self, wishes, registry):
        file = await self.kept(wishes)
        await wishes.wish(wish("w", files=[file]))
        await wishes.wish(wish("other"))

        assert await wishes.tidy(await registry.snapshot()) == 1
        with pytest.raises(ArtifactUnusable):
            await wishes.fetch(file)
        assert not (await registry.snapshot()).files

    async def test_a_content_that_was_wished_for_meanwhile_stays(self, wishes, registry):
        file = await self.kept(wishes)
        await wishes.wish(wish("w", files=[file]))
        await wishes.wish(wish("other"))
        seen = await registry.snapshot()
        await wishes.wish(wish("again", files=[file]))

        assert await wishes.tidy(seen) == 0
        assert await wishes.fetch(file) == self.CONTENT


class TestTidy:
    async def test_an_old_wish_for_a_model_that_is_nowhere_goes(self, wishes, registry):
        await wishes.wish(wish("w", unload=True, time_ms=1))
        await wishes.answer("m", wish("w", unload=True, time_ms=1), pb.Answer(wish="w"), [])

        assert await wishes.tidy(await registry.snapshot()) == 1
        snapshot = await registry.snapshot()
        assert not snapshot.wishes
        assert not snapshot.answers

    async def test_one_for_a_model_that_is_offered_stays(self, wishes, registry):
        await wishes.offer(["m"])
        await wishes.wish(wish("w", time_ms=1))
        await wishes.answer("m", wish("w", time_ms=1), pb.Answer(wish="w"), [])

        assert await wishes.tidy(await registry.snapshot()) == 0

    async def test_one_that_has_no_answer_stays(self, wishes, registry):
        await wishes.wish(wish("w", time_ms=1))

        assert await wishes.tidy(await registry.snapshot()) == 0
