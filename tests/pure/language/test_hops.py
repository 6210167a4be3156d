"""Groups over real hops: formed, taken, silent, left, formed anew."""

import asyncio
import contextlib

import pytest
from support.clients.stage_groups import Stages, die, formed, in_thread
from support.waiting import until

from penstock.language.manifest import read_manifest
from penstock.language.options import DecodingOptions
from penstock.protos import cluster_pb2 as pb
from penstock.transport.lane import Frames, frame, listen
from penstock.workers.language.answer import Answer
from penstock.workers.language.engine import Engine
from penstock.workers.language.head import GroupBroken
from penstock.workers.language.pipeline import Pipeline
from penstock.workers.serve.language.hops import HopKind, call_stage, listening_name
from penstock.workers.serve.language.members import choose

SLOTS, CAPACITY, TOKENS = 4, 64, 12
PROMPTS = [[9, 80, 33], [77], list(range(100, 140)), [5, 5, 5, 9, 9, 200, 31]]
OPTIONS = DecodingOptions(max_tokens=TOKENS, ignore_end=True, temperature=1.3, seed=3)


@pytest.fixture(scope="module")
def expected(versions):
    model = Pipeline.open(versions[1], read_manifest(versions[1]), SLOTS, CAPACITY, threads=1)
    return _answer(Engine(model, ()))


@pytest.fixture(scope="module")
def two(versions):
    return Stages(versions[2], SLOTS, CAPACITY)


@pytest.fixture(scope="module")
def three(versions):
    return Stages(versions[3], SLOTS, CAPACITY)


def _answer(engine, answers=None):
    """The logs of all *answers*, new ones to the prompts unless there are some."""
    answers = answers or [Answer(list(prompt), OPTIONS) for prompt in PROMPTS]
    for answer in answers:
        engine.admit(answer)
    _run(engine)
    return [answer.log for answer in answers]


def _run(engine):
    while not engine.is_idle:
        engine.step()


async def test_a_group_over_hops_answers_as_one_process(two, three, expected):
    for stages in (two, three):
        async with stages.all_served() as boot_ids:
            group = stages.group(boot_ids)
            assert await group.form() == []
            found = await in_thread(_answer, Engine(stages.head(group), (), 7))
            group.close()

        assert found == expected


async def test_a_stage_has_one_head_at_a_time(three):
    async with three.all_served() as boot_ids:
        first, second = three.group(boot_ids), three.group(["other", *boot_ids[1:]])
        assert await first.form() == []
        assert await second.form() == boot_ids[1:]

        first.close()

        (await formed(three, ["other", *boot_ids[1:]])).close()


async def test_a_group_lacking_a_stage_holds_none_of_the_others(three):
    async with three.served(1) as (server, middle), three.served(2) as (other, last):
        assert await three.group(["head", middle, "nobody"]).form() == [middle, "nobody"]
        await until(lambda: server._head is None)
        group = three.group(["head", "nobody", last])
        assert await group.form() == ["nobody"]
        await until(lambda: other._head is None)


async def test_a_stage_that_dies_while_its_group_forms_is_missed(three):
    """The other one has not answered yet, and is let go of."""
    late = Late()
    async with await late.listening(), three.served(1) as (server, middle):
        group = three.group(["head", middle, late.name])
        forming = asyncio.create_task(group.form())
        await until(lambda: late.asked and server._epoch == group.epoch)
        die(server)
        await until(group._broken.is_set)
        late.asked.writelines(frame(HopKind.FORMED))

        assert await forming != []
        await until(late.gone.is_set)


async def test_what_a_dead_stage_leaves_goes_on_in_another_group(three, expected):
    """The same head and middle stage, and a new last one."""
    answers = [Answer(list(prompt), OPTIONS) for prompt in PROMPTS]
    async with three.served(1) as (_, middle), contextlib.AsyncExitStack() as dying:
        server, last = await dying.enter_async_context(three.served(2))
        group = three.group(["head", middle, last])
        assert await group.form() == []
        engine = Engine(three.head(group), ())
        for answer in answers:
            engine.admit(answer)
        for _ in range(6):
            await in_thread(engine.step)
        die(server)
        with pytest.raises(GroupBroken, match="the worker of a stage is gone"):
            await in_thread(_run, engine)
        await until(lambda: server._head is None)
        await dying.aclose()
        under_way = [answer for answer in answers if len(answer.log) < TOKENS]
        async with three.served(2) as (_, another):
            group = await formed(three, ["head", middle, another])
            await in_thread(_answer, Engine(three.head(group), ()), under_way)
            group.close()

    assert under_way
    assert [answer.log for answer in answers] == expected


class Late:
    """A stage that has been asked to join a group, and has not answered.

    Attributes:
        asked: where the answer goes.
    """

    def __init__(self):
        self.name = f"late-{id(self)}"
        self.asked = None
        self.gone = asyncio.Event()

    async def listening(self):
        loop = asyncio.get_running_loop()
        return await loop.create_unix_server(
            lambda: _Asked(self), sock=listen(listening_name(self.name))
        )


class _Asked(asyncio.Protocol):
    def __init__(self, late):
        self._late = late

    def connection_made(self, transport):
        self._transport = transport

    def data_received(self, _):
        self._late.asked = self._transport

    def connection_lost(self, _):
        if self._late.asked is self._transport:
            self._late.gone.set()


class Silent(asyncio.Protocol):
    """A stage that joins its group and then says nothing, as one that is stopped."""

    def connection_made(self, transport):
        self._transport = transport
        self._frames = Frames()

    def data_received(self, data):
        for kind, _ in self._frames.feed(data):
            if kind == HopKind.FORM:
                self._transport.writelines(frame(HopKind.FORMED))


async def test_a_stage_that_is_silent_breaks_its_group(two):
    loop = asyncio.get_running_loop()
    name = f"silent-{id(two)}"
    server = await loop.create_unix_server(Silent, sock=listen(listening_name(name)))
    async with server:
        group = two.group(["head", name], silence_s=0.2)
        assert await group.form() == []

        # Closed in any case: the thread would wait for ever.
        with (
            contextlib.closing(group),
            pytest.raises(GroupBroken, match="stage 1 is silent"),
        ):
            await asyncio.wait_for(in_thread(_answer, Engine(two.head(group), ())), 20)
        with pytest.raises(GroupBroken):
            await group.breaks()
        with pytest.raises(GroupBroken):
            await in_thread(group.receive)


async def test_a_stage_that_does_not_answer_is_not_waited_for(two, monkeypatch):
    """One that is stopped is connected with by the kernel all the same."""
    monkeypatch.setattr("penstock.workers.serve.language.group._FORMING_S", 0.1)
    name = f"stopped-{id(two)}"
    with listen(listening_name(name)):
        assert await two.group(["head", name]).form() == [name]
    assert await two.group(["head", name]).form() == [name]


async def test_a_stage_that_is_to_end_is_let_go_of_first(two, expected):
    """What is under way ends in order; nobody gets it meanwhile."""
    async with contextlib.AsyncExitStack() as serving:
        _, boot_id = await serving.enter_async_context(two.served(1))
        group = two.group(["head", boot_id])
        assert await group.form() == []
        ending = asyncio.create_task(serving.aclose())
        await asyncio.wait_for(group.leaving.wait(), 20)

        assert await two.group(["other", boot_id]).form() == [boot_id]
        assert await in_thread(_answer, Engine(two.head(group), ())) == expected
        assert not ending.done()
        group.close()
        await asyncio.wait_for(ending, 20)


@pytest.mark.parametrize(
    "content", [b"", b"{}", b'[["a"], "x"]', b"\xff", b'[["not this one"], 1]']
)
async def test_what_is_no_group_is_not_joined(content, two):
    async with two.served(1) as (server, boot_id):
        reader, writer = await asyncio.open_unix_connection(sock=call_stage(boot_id))
        writer.writelines(frame(HopKind.FORM, content))
        said = await asyncio.wait_for(reader.read(5), 20)
        writer.close()

        assert said in (b"", b"".join(frame(HopKind.TAKEN)))
        assert server._head is None


def _worker(stage, replica=0, boot_id="b", node="n", state=pb.WORKER_STATE_READY, **fields):
    fields = {"revision_id": "r", "memory_domain": "d", **fields}
    return pb.Worker(
        id=f"{node}/m/1/{stage}.{replica}~r",
        boot_id=boot_id,
        node=node,
        model="m",
        version=1,
        stage=stage,
        state=state,
        **fields,
    )


OWN = _worker(0, boot_id="own", state=pb.WORKER_STATE_LOADING)


def test_a_head_asks_those_first_that_were_placed_together_with_it():
    workers = [
        _worker(1, 1, "a"),
        _worker(1, 0, "b"),
        _worker(2, 0, "c", node="m"),
        _worker(2, 2, "d"),
    ]

    chosen = choose(OWN, workers, 3, ())
    assert [worker.boot_id for worker in chosen] == ["b", "c"]
    chosen = choose(OWN, workers, 3, ["b", "c"])
    assert [worker.boot_id for worker in chosen] == ["a", "d"]


FAR = {"memory_domain": "another machine", "node": "m"}


def test_on_other_machines_a_head_asks_those_alone_that_were_placed_together_with_it():
    """Those are called at their address; whoever has none is not."""
    mate = _worker(1, 0, "a", hop_address="10.0.0.2:1", **FAR)
    others = [_worker(1, 1, "b", hop_address="10.0.0.2:2", **FAR), _worker(1, 0, "c", **FAR)]

    assert choose(OWN, [mate, *others], 2, (), goes_far=True) == [mate]
    assert choose(OWN, [mate, *others], 2, ()) == "it waits for a worker of stage 1 on its machine"
    assert choose(OWN, others, 2, (), goes_far=True) == (
        "it waits for a worker of stage 1 on its machine, or of its own replica on another"
    )
    near = _worker(1, 2, "d", node="m")
    assert choose(OWN, [mate, near], 2, (), goes_far=True) == [mate]
    assert choose(OWN, [mate, near], 2, ["a"], goes_far=True) == [near]


@pytest.mark.parametrize(
    "fields",
    [
        {"state": pb.WORKER_STATE_LOADING},
        {"revision_id": "other"},
        {"memory_domain": "another machine"},
        {"stage": 2},
    ],
)
def test_who_cannot_be_in_the_group_is_waited_for_by_name(fields):
    waits = choose(OWN, [_worker(**{"stage": 1, **fields})], 2, ())

    assert waits == "it waits for a worker of stage 1 on its machine"
