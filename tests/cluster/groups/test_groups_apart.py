"""A group that two machines share: its answers are those of one process that has it all.

Each machine is a network and a family of processes of its own, and neither has room for both
stages; a third one has another group. Whatever dies or is cut off, no byte of any answer changes.
"""

import asyncio
import contextlib
import os
import signal
from functools import partial

import psutil
import pytest
from support.authority import Authority
from support.clients.answers import Answers
from support.clients.load import eventually
from support.hops.machines import can_be_made, two_machines
from support.models.language_versions import Local, ask_all, hold, write_model
from support.processes.cluster import role_of
from support.processes.roles import all_ready, starting, status_of
from support.processes.stores import valkey

from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.registry.snapshot import replica_of

ONE_STAGE_MIB, BOTH_MIB = "190", "290"
"""A worker without weights counts for 96 MiB."""

LEASE = ("--lease-ms", "1500")


class Apart:
    """The cluster: nodes "a" and "b" have room for one stage each, "c" for two.

    Attributes:
        url: the gateway's.
    """

    def __init__(self, role, models, machines, authority):
        self._role = role
        self._models = ("--models", str(models))
        self._machines = dict(zip("ab", machines, strict=True))
        self._authority = authority
        self._nodes = {}
        self.models = models

    async def start(self):
        self._role("scheduler", *self._models)
        for name in "abc":
            self.start_node(name)
        self.url = await self._role("gateway", "--port", "0").up()
        assert await eventually(lambda: all_ready(self.url), 90)
        return self

    def start_node(self, name):
        """Start it; workers that are stopped are killed soon."""
        options = ("--node", name, *self._models, *LEASE, "--worker-silence-s", "6")
        if name == "c":
            self._nodes[name] = self._role("node", *options, "--memory-mib", BOTH_MIB)
            return
        machine = self._machines[name]
        pair = self._authority.issue(name, machine.address)
        self._nodes[name] = self._role(
            *("node", *options, "--memory-mib", ONE_STAGE_MIB),
            *("--hop-host", machine.address, "--hop-ports", "40100-40107"),
            *("--hop-cert", str(pair.certificate), "--hop-key", str(pair.key)),
            *("--hop-ca", str(self._authority.path)),
            within=machine.within,
        )

    async def groups(self):
        """Of each group the ready worker of each stage."""
        (version,) = (await status_of(self.url)).versions
        found = {}
        for stage in version.stages:
            for worker in stage.workers:
                if worker.state == pb.WORKER_STATE_READY:
                    found.setdefault(replica_of(worker.id), []).append(worker)
        return [*found.values()]

    async def shared(self):
        """The workers of the group that two machines share; None while it is not whole."""
        return next((g for g in await self.groups() if {w.node for w in g} == {"a", "b"}), None)

    async def is_whole(self):
        """Both groups are, where they belong."""
        there = []

        async def whole():
            there[:] = [sorted(w.node for w in group) for group in await self.groups()]
            return sorted(there) == [["a", "b"], ["c", "c"]]

        try:
            return await eventually(whole, 60)
        except AssertionError as error:
            raise AssertionError(f"workers are ready on {there}") from error

    async def process_of(self, stage):
        """The process of that stage of the shared group, by its number here."""
        record = (await self.shared())[stage]
        return self.workers_of(record.node)[0]

    def workers_of(self, node):
        family = psutil.Process(self._nodes[node].pid).children(recursive=True)
        return [one.pid for one in family if role_of(one) == "worker"]

    def kill_node(self, name):
        """It and its workers are gone at once, as with a machine."""
        self._nodes[name].process.kill()
        self._nodes[name].process.wait()

    @contextlib.contextmanager
    def cut_off(self):
        """The two machines do not reach each other; both reach the store."""
        for machine in self._machines.values():
            machine.cut()
        try:
            yield
        finally:
            for machine in self._machines.values():
                machine.mend()


@pytest.fixture(scope="module")
def apart(tmp_path_factory):
    if not can_be_made():
        pytest.skip("this user may not make networks")
    folder = tmp_path_factory.mktemp("apart")
    models = write_model(folder, "two", stages=2, count=2)
    with (
        valkey() as store,
        two_machines() as machines,
        starting(folder, store.url) as role,
    ):
        yield asyncio.run(Apart(role, models, machines, Authority(folder)).start())


@pytest.fixture(scope="module")
def reference(apart):
    return Local(apart.models / "two/1")


@pytest.fixture
def answers(apart):
    with Answers(apart.url) as answers:
        yield answers


def _half_way(found, answers):
    """Wait until all are under way; how many have not ended."""
    answers.until(lambda: sum(len(answer.tokens) > 20 for answer in found) >= 12)
    return sum(not answer.ended for answer in found)


async def test_a_group_that_two_machines_share_changes_no_byte(apart, answers, reference):
    assert await apart.is_whole()

    _, other = await apart.shared()
    assert other.hop_address.startswith("10.231.17.")
    hold(reference, await asyncio.to_thread(answers.ended, ask_all(answers, "two")))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["SIGKILL", "SIGSTOP"])
@pytest.mark.parametrize("stage", [0, 1])
async def test_a_worker_of_a_shared_group_that_ends_changes_no_byte(
    stage, number, apart, answers, reference
):
    """What it had goes on in the other group, or in the same one once it has formed anew."""
    assert await apart.is_whole()
    victim = await apart.process_of(stage)
    found = ask_all(answers, "two")
    under_way = _half_way(found, answers)
    os.kill(victim, number)
    await asyncio.to_thread(answers.ended, found)

    hold(reference, found)
    assert under_way >= 8
    assert await eventually(lambda: not psutil.pid_exists(victim), 60)
    assert await apart.is_whole()


async def test_a_cable_that_is_cut_changes_no_byte(apart, answers, reference):
    """Both machines live, and reach the store; the group forms anew once they reach each other."""
    assert await apart.is_whole()
    found = ask_all(answers, "two")
    under_way = _half_way(found, answers)
    with apart.cut_off():
        await asyncio.to_thread(answers.ended, found)
        assert await eventually(partial(_lacks_its_head, apart), 60)

    hold(reference, found)
    assert under_way >= 8
    assert await apart.is_whole()
    hold(reference, await asyncio.to_thread(answers.ended, ask_all(answers, "two")))


async def _lacks_its_head(apart):
    """It says that it cannot answer."""
    ready = [worker.node for group in await apart.groups() for worker in group]
    return sorted(ready) != ["a", "b", "c", "c"]


async def test_a_shared_group_whose_machine_dies_is_placed_anew_as_a_whole(
    apart, answers, reference
):
    assert await apart.is_whole()
    found = ask_all(answers, "two")
    _half_way(found, answers)
    apart.kill_node("b")
    await asyncio.to_thread(answers.ended, found)
    assert await eventually(lambda: not apart.workers_of("a"), 60)
    apart.start_node("b")

    hold(reference, found)
    assert await apart.is_whole()
