"""One gateway at a time tells the cluster's metrics."""

import pytest
from support.waiting import until

from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.registry.registry import Registry
from penstock.scheduler.registry.telling import KEEP_MS, Telling
from penstock.scheduler.store.keys import RegistryKeys


def telling(probe, gateway):
    return Telling(Registry(probe.links).link, gateway)


async def live(probe, *ids):
    for id_ in ids:
        await Registry(probe.links).announce(pb.Gateway(id=id_))


@pytest.fixture
async def two(probe):
    await live(probe, "one", "two")
    return telling(probe, "one"), telling(probe, "two")


async def test_the_first_that_is_asked_goes_on_telling(two):
    one, other = two

    assert await one.is_ours()
    assert not await other.is_ours()
    assert await one.is_ours()


async def test_the_turn_lasts_longer_than_readers_take_to_come_back(two, probe):
    await two[0].is_ours()

    assert KEEP_MS - 5000 < await probe.ttl_ms(RegistryKeys.teller) <= KEEP_MS


async def test_a_gateway_that_stops_lets_another_tell_at_once(two):
    one, other = two
    await one.is_ours()
    await other.give_up()
    kept = await one.is_ours()
    await one.give_up()

    assert kept
    assert await other.is_ours()


async def test_a_dead_gateway_has_lost_its_turn(two, probe):
    one, other = two
    await one.is_ours()
    await probe.command("ZADD", RegistryKeys.seen, 1, "gateways/one")

    assert await until(other.is_ours)
    assert not await one.is_ours()


async def test_so_has_one_that_nobody_knows(probe):
    await live(probe, "two")
    await telling(probe, "never-announced").is_ours()

    assert await telling(probe, "two").is_ours()
