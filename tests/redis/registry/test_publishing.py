"""What the repository holds is published, however long some of it takes to read."""

import pytest
from support.models.repositories import artifacts, put
from support.waiting import until

from penstock.models.files.file_hashes import PIECE_BYTES, WHOLE
from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.registry.registry import Registry
from penstock.scheduler.registry.snapshot import VersionId
from penstock.scheduler.roles.publisher import Publisher
from penstock.scheduler.store.keys import RegistryKeys
from penstock.scheduler.store.link import Links

LARGE = VersionId("large", 1)


@pytest.fixture
async def registry(each_redis_url):
    async with Links(each_redis_url) as links:
        yield Registry(links)


@pytest.fixture
def models(tmp_path):
    put(tmp_path, artifacts("large/1/model.onnx", "small/1/model.onnx"))
    with (tmp_path / "large/1/model.onnx").open("r+b") as file:
        file.truncate(3 * PIECE_BYTES)
    return tmp_path


def publisher(registry, models):
    return Publisher(registry, [models], every_s=1, follow=True, cache_bytes=0)


async def published(registry):
    return (await registry.snapshot()).versions


async def publish_all(registry, models):
    """Publish until the large file has been read."""
    one = publisher(registry, models)

    async def there():
        await one.publish()
        return LARGE in await published(registry)

    await until(there, 60)
    return one


async def test_a_large_file_that_is_being_read_holds_up_no_other_model(registry, models):
    one = publisher(registry, models)

    await one.publish()

    assert list(await published(registry)) == [VersionId("small", 1)]
    await publish_all(registry, models)
    assert (await published(registry))[LARGE].stages[0].fingerprint.startswith(WHOLE)


async def test_a_scheduler_that_starts_again_takes_nothing_back(registry, models):
    await publish_all(registry, models)
    before = await published(registry)

    await publisher(registry, models).publish()

    assert await published(registry) == before


async def test_beside_an_older_scheduler_large_files_have_its_names(registry, models):
    """Else each would take the other's names for new contents, in turns."""
    await registry.announce(pb.Scheduler(id="older", control_mode="poll"))

    one = await publish_all(registry, models)
    beside = (await published(registry))[LARGE].stages[0].fingerprint
    await registry.withdraw(pb.Scheduler(id="older"))

    async def renamed():
        await one.publish()
        return (await published(registry))[LARGE].stages[0].fingerprint.startswith(WHOLE)

    assert not beside.startswith(WHOLE)
    assert await until(renamed, 60)


async def test_what_stands_is_not_published_again_and_what_was_lost_is(each_redis_url, models):
    async with Links(each_redis_url) as links:
        registry, calls = Registry(links), []
        one, publish = await publish_all(registry, models), registry.publish

        async def counted(source, versions):
            calls.append(len(versions))
            return await publish(source, versions)

        registry.publish = counted
        for _ in range(3):
            await one.publish()
        assert calls == []

        # Another connection may be another server.
        links.to(RegistryKeys.tag)._conversation.end(ConnectionError("cut"))
        await until(lambda: registry.connections_made == 2)
        await one.publish()

        assert calls == [2]
