"""The worker of a language model and its group, on a real queue: what becomes of its jobs."""

import asyncio
import contextlib
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from structlog.testing import capture_logs
from support.clients.stage_groups import Stages, die, formed
from support.jobs import inference
from support.models import tiny_language
from support.probe import FIRST, LONG_MS
from support.waiting import until

from penstock.exporting.export import Order, export
from penstock.language.manifest import read_manifest
from penstock.language.options import DecodingOptions
from penstock.language.payload import CACHED_TOKENS, CALLER, OPTIONS, options_to_json
from penstock.language.rebuild import Rebuild
from penstock.models.config.language_models import TOKENS_INPUT, TOKENS_OUTPUT
from penstock.protos import grpc_service_pb2 as pb
from penstock.scheduler.jobs.logs import Logs
from penstock.workers.language.engine import Caches
from penstock.workers.language.head import GroupBroken
from penstock.workers.language.local import LocalModel
from penstock.workers.liveness.renewal import Renewal
from penstock.workers.serve.batching import BatchRules
from penstock.workers.serve.language.forming import either
from penstock.workers.serve.language.worker import LanguageWorker
from penstock.workers.serve.spec import WorkerSpec

PROMPTS = ([9, 80, 33], [77, 5, 6])
ASKED = DecodingOptions(max_tokens=90, ignore_end=True)


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    path = tmp_path_factory.mktemp("group")
    export(tiny_language.write_folder(path / "f"), Order(path / "1", 2), lambda *_: None)
    return path / "1"


@pytest.fixture(scope="module")
def expected(version):
    """The logs of all answers, as this process makes them."""
    logs = [b""] * len(PROMPTS)
    for piece in LocalModel.open(version, 2, 128, threads=1).generate(PROMPTS, ASKED):
        logs[piece.number] += piece.token.to_bytes(4, "little")
    return logs


def _payload(prompt, options=ASKED, caller=None):
    request = inference({TOKENS_INPUT: np.array(prompt, np.int64)})
    request.parameters[OPTIONS].string_param = options_to_json(options)
    if caller is not None:
        request.parameters[CALLER].string_param = caller
    return request.SerializeToString()


@contextlib.asynccontextmanager
async def _working(probe, version):
    """A worker that is a head, whose group is not formed yet, and the device's thread."""
    spec = WorkerSpec(
        ref=FIRST,
        last=True,
        boot_id="worker-1",
        hop_name="",
        consumes=(TOKENS_INPUT,),
        keeps=(TOKENS_OUTPUT,),
        rules=BatchRules(most_rows=1),
        batched=False,
        optional=frozenset(),
        by_parameters=False,
        lease_ms=LONG_MS,
        preempts=True,
    )
    link, renewal = (
        probe.links.blocking(probe.keys.tag),
        Renewal(FIRST.model, LONG_MS, run_limit_s=60),
    )
    with ThreadPoolExecutor(1) as device:
        yield LanguageWorker(spec, probe.queue, link, read_manifest(version), renewal, device)
    await link.close()


class Life:
    """One group of the worker, and what it does meanwhile.

    Attributes:
        read: tokens of prompts and logs that each call read.
    """

    def __init__(self, stages, worker, group, rebuild=Rebuild.PREFILL):
        self.group = group
        self.read = []
        self._caches = Caches(rebuild, reuses=True)
        self._stop = asyncio.Event()
        self._stages, self._worker = stages, worker
        self._running = asyncio.create_task(self._run())

    async def _run(self):
        async with either(self._stop, self.group.leaving) as over:
            head = self._stages.head(self.group)
            reads = head.read

            def read(slot, answer, begin, end):
                self.read.append(end - begin)
                reads(slot, answer, begin, end)

            head.read = read
            await self._worker.run(head, over, self.group.breaks(), self._caches)

    async def ends(self):
        """Wait until it does; a worker that is told to stop ends in order."""
        try:
            await asyncio.wait_for(self._running, 20)
        finally:
            self.group.close()

    async def stop(self):
        self._stop.set()
        await self.ends()


async def _ask(probe):
    for number, prompt in enumerate(PROMPTS):
        await probe.enqueue(f"job-{number}", payload=_payload(prompt))


async def _have_begun(probe):
    """Both answers have tokens, and neither has ended."""
    logs = Logs(probe.queue)

    async def begun():
        found = [await logs.read(FIRST.model, f"job-{number}") for number in range(2)]
        return all(len(log) > 8 for log in found)

    await until(begun)


async def _logs(probe):
    """What each answer's reply has, once there is one."""

    async def replies():
        found = {id_: body for id_, code, _, body in await probe.replies() if code == 0}
        return found if len(found) == len(PROMPTS) else None

    found = await until(replies, 20)
    return [found[f"job-{number}"] for number in range(len(PROMPTS))]


def _slowed(stages):
    """Steps take a while, so that answers are under way when something happens."""
    step = stages._stages[0].step

    def slowly(*arguments):
        time.sleep(0.005)  # on the device's thread
        return step(*arguments)

    stages._stages[0].step = slowly


@pytest.mark.parametrize("rebuild", Rebuild)
async def test_what_a_broken_group_had_goes_on_in_the_next_one(probe, version, expected, rebuild):
    """It is marked, since one of it may have been the reason; its logs are kept.

    Where a cache comes back by replay, logs are read token by token; where nothing is known of
    that, the worker says so of each answer.
    """
    stages = Stages(version, 2, 128)
    _slowed(stages)
    async with _working(probe, version) as worker, stages.served(1) as (server, boot_id):
        life = Life(stages, worker, await formed(stages, ["worker-1", boot_id]))
        await _ask(probe)
        await _have_begun(probe)
        die(server)
        with pytest.raises(GroupBroken):
            await life.ends()

        assert sorted(await probe.waiting()) == ["job-0", "job-1"]
        records = [await probe.record(f"job-{number}") for number in range(2)]
        assert [record["crashes"] for record in records] == ["1", "1"]
        group = await formed(stages, ["worker-1", boot_id])
        with capture_logs() as said:
            life = Life(stages, worker, group, rebuild)
            bodies = await _logs(probe)
        await life.stop()

    assert [log in body for log, body in zip(expected, bodies, strict=True)] == [True, True]
    prompt = len(PROMPTS[0]) - 1
    assert (max(life.read) > prompt) == (rebuild is not Rebuild.REPLAY)
    if rebuild is Rebuild.REPLAY:
        assert life.read.count(prompt) == len(PROMPTS)
        assert set(life.read) == {1, prompt}
    warned = [one["job"] for one in said if "may say what it would not" in one["event"]]
    assert sorted(warned) == (["job-0", "job-1"] if rebuild is Rebuild.NONE else [])


async def test_what_a_group_has_whose_stage_is_to_end_is_given_back_unmarked(
    probe, version, expected
):
    stages = Stages(version, 2, 128)
    _slowed(stages)
    async with _working(probe, version) as worker:
        async with stages.served(1) as (_, boot_id):
            life = Life(stages, worker, await formed(stages, ["worker-1", boot_id]))
            await _ask(probe)
            await _have_begun(probe)
            ending = asyncio.create_task(life.ends())
        await ending

        assert sorted(await probe.waiting()) == ["job-0", "job-1"]
        records = [await probe.record(f"job-{number}") for number in range(2)]
        assert [record.get("crashes") for record in records] == [None, None]
        async with stages.served(1) as (_, boot_id):
            life = Life(stages, worker, await formed(stages, ["worker-1", boot_id]))
            bodies = await _logs(probe)
            await life.stop()

    assert [log in body for log, body in zip(expected, bodies, strict=True)] == [True, True]


async def test_an_answer_that_ends_two_groups_before_its_first_token_is_set_aside(probe, version):
    stages = Stages(version, 2, 128)
    async with _working(probe, version) as worker, stages.served(1) as (server, boot_id):
        run, loop = server._stage.run, asyncio.get_running_loop()
        server._stage.run = lambda _: loop.call_soon_threadsafe(die, server) and None
        await probe.enqueue("job-0", payload=_payload(PROMPTS[0]))
        for _ in range(2):
            life = Life(stages, worker, await formed(stages, ["worker-1", boot_id]))
            with pytest.raises(GroupBroken):
                await life.ends()
        server._stage.run = run
        life = Life(stages, worker, await formed(stages, ["worker-1", boot_id]))
        ((id_, code, *_),) = await until(probe.replies)
        await life.stop()

    assert (id_, code != 0) == ("job-0", True)
    assert await probe.ends() == {"dead": 1}


SHORT = DecodingOptions(max_tokens=20, ignore_end=True)


async def _talk(probe, id_, prompt, caller):
    """The answer's tokens, and how many of the prompt were not read."""
    await probe.enqueue(id_, payload=_payload(prompt, SHORT, caller))

    async def reply():
        found = {one: body for one, code, _, body in await probe.replies() if code == 0}
        return found.get(id_)

    said = pb.ModelInferResponse.FromString(await until(reply, 20))
    tokens = np.frombuffer(said.raw_output_contents[0], "<u4").tolist()
    return tokens, said.parameters[CACHED_TOKENS].int64_param


async def test_a_conversation_goes_on_from_what_its_group_has_and_no_other(probe, version):
    """A group that forms anew has other caches; another caller has none of it."""
    local = LocalModel.open(version, 1, 128, threads=1)

    def alone(prompt):
        return [piece.token for piece in local.generate([prompt], SHORT)]

    stages = Stages(version, 4, 128)
    first, more = list(range(40, 60)), [7, 8]
    async with _working(probe, version) as worker:
        async with stages.served(1) as (_, boot_id):
            life = Life(stages, worker, await formed(stages, ["worker-1", boot_id]))
            said = await _talk(probe, "a", first, "one")
            longer = [*first, *said[0], *more]
            again = await _talk(probe, "b", longer, "one")
            anothers = await _talk(probe, "c", longer, "other")
            nobodys = await _talk(probe, "d", longer, None)
            await life.stop()
        async with Stages(version, 4, 128).served(1) as (_, boot_id):
            life = Life(stages, worker, await formed(stages, ["worker-1", boot_id]))
            anew = await _talk(probe, "e", longer, "one")
            await life.stop()

    # The last token of the first answer was in no step.
    assert (said, again) == ((alone(first), 0), (alone(longer), 39))
    assert [anothers, nobodys, anew] == [(alone(longer), 0)] * 3
    assert (await probe.statistics())["cached_tokens"] == 39


async def test_an_answer_makes_room_for_a_more_urgent_one_and_loses_nothing(
    probe, version, expected
):
    """It waits with its log, and goes on from there; deadlines alone push out nobody."""
    stages, urgent = Stages(version, 2, 128), [5, 6, 7]
    (piece, *_) = LocalModel.open(version, 1, 128, threads=1).generate([urgent], SHORT)
    _slowed(stages)
    async with _working(probe, version) as worker, stages.served(1) as (_, boot_id):
        life = Life(stages, worker, await formed(stages, ["worker-1", boot_id]))
        for number, prompt in enumerate(PROMPTS):
            payload = _payload(prompt, caller="one")
            await probe.enqueue(f"job-{number}", payload=payload, priority=2)
        await _have_begun(probe)
        await probe.enqueue("same", payload=_payload(urgent, SHORT), priority=2, ttl_ms=30_000)
        await probe.enqueue("urgent", payload=_payload(urgent, SHORT), priority=1)

        async def ended():
            found = [id_ for id_, code, *_ in await probe.replies() if code == 0]
            return found if len(found) == 4 else None

        order = await until(ended, 20)
        bodies = {id_: body for id_, _, _, body in await probe.replies()}
        await life.stop()

    assert order[0] == "urgent"
    assert [log in bodies[f"job-{n}"] for n, log in enumerate(expected)] == [True, True]
    assert piece.token.to_bytes(4, "little") in bodies["urgent"]
    told = await probe.statistics()
    assert (told["success_count"], told["preempted"]) == (4, 1)
