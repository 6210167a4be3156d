"""Hops between machines, each stage on one of its own: real streams on loopback."""

import asyncio
import contextlib
import threading
from functools import partial

import pytest
from support.clients.stage_groups import Stages, die, formed, in_thread
from support.hops.streams import CAPACITY, SLOTS, Callers, Heard, Proxy, called, streams_of
from support.models import tiny_language
from support.waiting import until

from penstock.errors import InvalidConfiguration
from penstock.exporting.export import Order, export
from penstock.language.manifest import read_manifest
from penstock.language.options import DecodingOptions
from penstock.workers.language.answer import Answer
from penstock.workers.language.engine import Engine
from penstock.workers.language.head import MOST_AHEAD, GroupBroken
from penstock.workers.language.pipeline import Pipeline
from penstock.workers.serve.language.hops import HopKind, HopPlace, packed_places

TOKENS = 12
PROMPTS = [[9, 80, 33], [77], list(range(100, 140)), [5, 5, 5, 9, 9, 200, 31]]
OPTIONS = DecodingOptions(max_tokens=TOKENS, ignore_end=True, temperature=1.3, seed=3)
OF_ANOTHER_EPOCH = b"e" * 16 + bytes(100)


@pytest.fixture(scope="module")
def versions(tmp_path_factory):
    """Stages -> the version's directory."""
    path = tmp_path_factory.mktemp("versions")
    folder = tiny_language.write_folder(path / "f")
    for stages in (1, 3):
        export(folder, Order(path / f"{stages}", stages), lambda *_: None)
    return {stages: path / f"{stages}" for stages in (1, 3)}


@pytest.fixture(scope="module")
def expected(versions):
    model = Pipeline.open(versions[1], read_manifest(versions[1]), SLOTS, CAPACITY, threads=1)
    return _answer(Engine(model, ()))


@pytest.fixture(scope="module")
def stages(versions, pair, authority):
    """Each on a machine of its own, with certificates of one authority."""
    return Stages(versions[3], SLOTS, CAPACITY, partial(streams_of, pair, authority))


def _answer(engine, answers=None):
    answers = answers or [Answer(list(prompt), OPTIONS) for prompt in PROMPTS]
    for answer in answers:
        engine.admit(answer)
    while not engine.is_idle:
        engine.step()
    return [answer.log for answer in answers]


async def test_a_group_on_three_machines_answers_as_one_process(stages, expected):
    async with stages.all_served() as boot_ids:
        for _ in range(2):
            group = await formed(stages, boot_ids)
            found = await in_thread(_answer, Engine(stages.head(group), (), 7))
            group.close()

            assert found == expected


async def test_a_stage_on_another_machine_has_one_head_at_a_time(stages):
    async with stages.all_served() as boot_ids:
        first, second = await formed(stages, boot_ids), stages.group(["other", *boot_ids[1:]])
        assert await second.form() == boot_ids[1:]

        first.close()

        (await formed(stages, ["other", *boot_ids[1:]])).close()


async def test_what_a_stage_that_died_leaves_goes_on_in_another_group(stages, expected):
    answers = [Answer(list(prompt), OPTIONS) for prompt in PROMPTS]
    async with stages.served(1) as (_, middle), contextlib.AsyncExitStack() as dying:
        server, last = await dying.enter_async_context(stages.served(2))
        group = await formed(stages, ["head", middle, last])
        engine = Engine(stages.head(group), ())
        for answer in answers:
            engine.admit(answer)
        for _ in range(6):
            await in_thread(engine.step)
        die(server)
        with pytest.raises(GroupBroken, match="the worker of a stage is gone"):
            await in_thread(_answer, engine, [])
        await dying.aclose()
        under_way = [answer for answer in answers if len(answer.log) < TOKENS]
        async with stages.served(2) as (_, another):
            group = await formed(stages, ["head", middle, another])
            await in_thread(_answer, Engine(stages.head(group), ()), under_way)
            group.close()

    assert under_way
    assert [answer.log for answer in answers] == expected


async def test_a_hop_between_two_later_stages_that_ends_breaks_the_group(stages):
    """Its head is connected with both, and would wait for what went lost on the way."""
    async with stages.served(1) as (server, middle), stages.served(2) as (_, last):
        group = await formed(stages, ["head", middle, last])
        server._next.hang_up()

        with pytest.raises(GroupBroken):
            await asyncio.wait_for(group.breaks(), 20)
        await until(lambda: server._head is None)


async def test_a_stage_that_cannot_reach_the_next_one_is_not_in_the_group(stages):
    async with stages.served(1) as (server, middle), stages.served(2) as (other, last):
        group = stages.group(["head", middle, last])
        unknown = [HopPlace("elsewhere", "127.0.0.1:1")]
        told = [*group._places[:2], *unknown]
        async with called(stages.streams(), group._places[1].address) as peer:
            peer.write(HopKind.PLACES, [packed_places(told)])
            peer.write(HopKind.FORM, [group._membership.packed()])
            await until(lambda: peer.frames)

        assert peer.frames == [(HopKind.TAKEN, b"")]
        assert server._head is None
        assert other._head is None


async def test_a_stage_that_is_to_end_is_let_go_of_first(stages, expected):
    async with stages.served(2) as (_, last), contextlib.AsyncExitStack() as serving:
        _, middle = await serving.enter_async_context(stages.served(1))
        group = await formed(stages, ["head", middle, last])
        ending = asyncio.create_task(serving.aclose())
        await asyncio.wait_for(group.leaving.wait(), 20)

        assert await in_thread(_answer, Engine(stages.head(group), ())) == expected
        assert not ending.done()
        group.close()
        await asyncio.wait_for(ending, 20)


async def test_frames_arrive_once_and_in_order_or_the_stream_ends(pair, authority):
    """Nothing is sent again over another connection."""
    callers = Callers()

    async with streams_of(pair, authority).listening(callers) as address:
        proxy = Proxy(address)
        async with proxy.open() as detour, called(streams_of(pair, authority), detour) as peer:
            for number in range(8):
                peer.write(HopKind.MESSAGE, [bytes([number]) * 1000])
            await until(lambda: callers.all and len(callers.all[0].frames) == 8)
            proxy.cut()
            await asyncio.wait_for(peer.gone.wait(), 20)
            await asyncio.wait_for(callers.all[0].gone.wait(), 20)
            peer.write(HopKind.MESSAGE, [b"late"])

        assert callers.all[0].frames == [
            (HopKind.MESSAGE, bytes([number]) * 1000) for number in range(8)
        ]
        assert len(callers.all) == 1


async def test_a_machine_that_says_nothing_any_more_is_missed_by_both_sides(pair, authority):
    """No packet comes that would end the connection, as after a cut or a loss of power."""
    callers = Callers()

    async with streams_of(pair, authority, silence_s=0.4).listening(callers) as address:
        proxy = Proxy(address)
        streams = streams_of(pair, authority, silence_s=0.4)
        async with proxy.open() as detour, called(streams, detour) as peer:
            proxy.silent.set()
            await asyncio.wait_for(peer.gone.wait(), 20)
            await asyncio.wait_for(callers.all[0].gone.wait(), 20)


class TestBounds:
    async def test_a_message_larger_than_any_can_be_ends_its_stream(self, pair, authority):
        callers = Callers()

        async with (
            streams_of(pair, authority, most=10_000).listening(callers) as address,
            called(streams_of(pair, authority), address) as peer,
        ):
            peer.write(HopKind.MESSAGE, [bytes(9_000)])
            await until(lambda: callers.all and callers.all[0].frames)
            peer.write(HopKind.MESSAGE, [bytes(11_000)])
            await asyncio.wait_for(peer.gone.wait(), 20)

        assert len(callers.all[0].frames) == 1

    async def test_more_messages_than_a_head_sends_end_its_stream(self, stages):
        goes_on = threading.Event()
        async with stages.served(2) as (server, last):
            group = await formed(stages, ["head", last])
            server._device.submit(goes_on.wait)
            async with called(stages.streams(), stages._places[last].address) as peer:
                for _ in range(4 * MOST_AHEAD):
                    peer.write(HopKind.MESSAGE, [group.epoch + bytes(100)])
                try:
                    await asyncio.wait_for(peer.gone.wait(), 20)
                finally:
                    goes_on.set()

    async def test_what_has_an_epoch_that_nobody_knows_is_dropped(self, stages, expected):
        """However much of it comes, the stage computes for its own group."""
        async with stages.all_served() as boot_ids:
            group = await formed(stages, boot_ids)
            streams = stages.streams()
            async with called(streams, stages._places[boot_ids[1]].address) as peer:
                for _ in range(4 * MOST_AHEAD):
                    peer.write(HopKind.MESSAGE, [OF_ANOTHER_EPOCH])
                peer.write(HopKind.PING)
                await until(lambda: peer.frames)
                assert await in_thread(_answer, Engine(stages.head(group), ())) == expected
                group.close()

                assert peer.frames == [(HopKind.PONG, b"")]

    async def test_a_peer_that_takes_nothing_is_hung_up_on(self, pair, authority):
        """What waits for it does not grow."""
        async with streams_of(pair, authority).listening(Heard) as address:
            proxy = Proxy(address)
            streams = streams_of(pair, authority)
            async with proxy.open() as detour, called(streams, detour) as peer:
                proxy.silent.set()
                for _ in range(200):
                    peer.write(HopKind.MESSAGE, [bytes(1 << 20)])
                    await asyncio.sleep(0)
                    if not peer.is_there:
                        break

                assert not peer.is_there

    async def test_each_worker_has_one_of_the_ports(self, pair, authority):
        async with streams_of(None, None).listening(Heard) as address:
            port = int(address.rpartition(":")[2])
        ports = range(port, port + 1)
        async with streams_of(pair, authority, ports=ports).listening(Heard) as address:
            assert address == f"127.0.0.1:{port}"
            with pytest.raises(InvalidConfiguration, match="choose others with --hop-ports"):
                async with streams_of(pair, authority, ports=ports).listening(Heard):
                    pass
