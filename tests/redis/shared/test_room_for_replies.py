"""Kept replies: how much room they have, and who makes room for others."""

from support.clients.sharers import content, key
from support.probe import LONG_MS
from support.waiting import until

from penstock.errors import Code
from penstock.scheduler.jobs.shared_replies import Lead


class TestRoom:
    async def test_the_longest_unused_goes_first(self, probe, sharers):
        sizes = []
        for name in ("old", "used", "new"):
            shared = content(name, most_bytes=2000)
            await sharers.lead(shared, name, payload=b"x" * 300)
            await probe.settle(await probe.lease())
            if name == "used":
                await until(lambda: _touched(sharers, content("old", most_bytes=2000)))
            sizes.append(await sharers.kept())

        names, counted, stored = sizes[-1]
        assert {name.rpartition("/")[2] for name in names} == {"old", "new"}
        assert counted == stored <= 2000
        assert isinstance(await sharers.join(content("used", most_bytes=2000), "z"), Lead)

    async def test_what_is_larger_than_all_of_it_is_not_kept(self, probe, sharers):
        shared = content(most_bytes=2000)
        await sharers.lead(shared, "a", payload=b"x" * 3000)
        await probe.settle(await probe.lease())

        assert (await probe.replies())[0][1] is Code.OK
        assert await sharers.kept() == ([], 0, 0)
        assert isinstance(await sharers.join(shared, "b"), Lead)

    async def test_everything_has_a_life_time(self, probe, sharers):
        await sharers.lead(content(), "a")
        await sharers.lead(key(), "b")
        running = await probe.names("*reply:~*")
        await probe.settle(await probe.lease(rows=1))
        await probe.settle(await probe.lease(rows=1))
        kept = await probe.names("*reply:[~=#]*")

        assert len(running) == 2
        assert len(kept) == 6
        for name in kept:
            assert 0 < await probe.ttl_ms(name) <= LONG_MS

    async def test_one_that_is_kept_again_is_counted_once(self, probe, sharers):
        """Its place among those that are kept outlived it."""
        for turn in range(3):
            shared = content("same")
            await sharers.lead(shared, f"{turn}", payload=b"x")
            await probe.settle(await probe.lease())
            await probe.command("DEL", probe.keys.replies + shared.owner)

        names, counted, stored = await sharers.kept()

        assert len(names) == 1
        assert counted == stored


async def _touched(sharers, shared):
    """It was used, and is no longer the one that goes first."""
    assert (await sharers.join(shared, "toucher")).code is Code.OK
    return not (await sharers.kept())[0][0].endswith(shared.digest)
