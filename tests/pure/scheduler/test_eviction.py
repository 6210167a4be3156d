"""Idle models make room for those that are asked for, the least recently used first."""

from dataclasses import replace

import pytest
from support.records import cpu, node, placement, snapshot, stage, version

from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.decisions.eviction import IDLE_MS, PATIENCE_MS, evictions
from penstock.scheduler.decisions.readiness import plan_for
from penstock.scheduler.decisions.wants import MIB, PROCESS_BYTES
from penstock.scheduler.registry.snapshot import Outgoing

ROOM = PROCESS_BYTES["cpu", "onnxruntime"] // MIB
"""What a worker without weights needs, in MiB."""
LONG_MS = 100_000


class World:
    """Models of one size on one node; those with a number of workers have a place there."""

    def __init__(self, workers):
        self.node = node("n", cpu(workers * ROOM))
        self.versions, self.placed, self.outgoing = [], [], []
        self.used_ago_ms, self.requested_ago_ms, self.unloading = {}, {}, set()

    def model(self, name, *, used_ago_ms=None, requested_ago_ms=LONG_MS, mib=0, placed=True):
        self.versions.append(version(stage(mib), model=name, revision_id="g"))
        if placed:
            self.placed.append(placement(model=name, revision_id="g"))
        if used_ago_ms is not None:
            self.used_ago_ms[name] = used_ago_ms
        self.requested_ago_ms[name] = requested_ago_ms
        return self

    def asked_for(self, name, **fields):
        return self.model(name, **{"used_ago_ms": 0, "placed": False} | fields)

    def leaves(self, name):
        record = version(stage(), model=name, revision_id="g")
        self.placed.append(placement(model=name, revision_id="g"))
        self.outgoing.append(Outgoing(f"repository/{name}/1/g", 1, record))
        return self

    def evictions(self, *kept):
        made = snapshot(self.versions, nodes=[self.node], placements=self.placed)
        made = replace(
            made,
            outgoing=tuple(self.outgoing),
            used_ms={m: made.now_ms - ago for m, ago in self.used_ago_ms.items()},
            load_requests={
                m: pb.LoadRequest(
                    model=m, id=m, time_ms=made.now_ms - ago, unload=m in self.unloading
                )
                for m, ago in self.requested_ago_ms.items()
            },
        )
        return evictions(made, plan_for(made), frozenset(kept))

    def victims(self, *kept):
        return [model for model, _ in self.evictions(*kept)]


def test_the_least_recently_used_makes_room():
    world = World(2).model("a", used_ago_ms=5000).model("b", used_ago_ms=9000).asked_for("c")

    assert world.victims() == ["b"]


def test_why_is_told():
    ((_, reason),) = World(1).model("a", used_ago_ms=9000).asked_for("b").evictions()

    assert reason == "unloaded to make room for 'b': nobody had used it for 9 s"


def test_one_that_was_never_used_goes_first():
    world = World(2).model("a", used_ago_ms=50_000).model("b").asked_for("c")

    assert world.victims() == ["b"]


@pytest.mark.parametrize(("ago_ms", "victims"), [(IDLE_MS, []), (IDLE_MS + 1, ["a"])])
def test_one_that_is_used_stays(ago_ms, victims):
    assert World(1).model("a", used_ago_ms=ago_ms).asked_for("b").victims() == victims


def test_one_that_was_just_loaded_stays():
    assert World(1).model("a", requested_ago_ms=100).asked_for("b").victims() == []


def test_one_that_is_to_be_kept_stays():
    world = World(2).model("a", used_ago_ms=9000).model("b", used_ago_ms=5000).asked_for("c")

    assert world.victims("a") == ["b"]


def test_nothing_goes_while_there_is_room():
    assert World(2).model("a", used_ago_ms=9000).asked_for("b").victims() == []


def test_as_many_go_as_need_be():
    world = World(3)
    for ago_ms, name in enumerate("cba", start=5):
        world.model(name, used_ago_ms=1000 * ago_ms)

    assert world.asked_for("big", mib=64).victims() == ["a", "b"]


def test_one_that_would_not_help_is_spared():
    """`small` is older, but its device has no room for the new one, and that of `large` has."""
    world = World(1).model("small", used_ago_ms=9000)
    world.node.devices.add(kind="cpu", index=1, memory_bytes=2 * ROOM * MIB)
    world.model("large", used_ago_ms=5000, mib=64, placed=False)
    world.placed.append(placement(model="large", revision_id="g", device="cpu:1"))

    assert world.asked_for("new", mib=64).victims() == ["large"]


def test_what_is_on_its_way_out_is_waited_for():
    assert World(2).model("a", used_ago_ms=9000).leaves("old").asked_for("c").victims() == []


def test_one_that_was_told_to_go_is_waited_for():
    world = World(2).model("a", used_ago_ms=9000).model("b", used_ago_ms=8000)
    world.unloading.add("a")

    assert world.asked_for("c").victims() == []


def test_one_that_could_never_fit_is_given_up_and_nobody_goes_for_it():
    world = World(2).model("a", used_ago_ms=9000).asked_for("huge", mib=500)

    ((model, reason),) = world.evictions()

    assert model == "huge"
    assert reason.startswith("it needs ")


def test_one_that_nobody_waits_for_any_more_is_given_up():
    world = World(1).model("a", used_ago_ms=0).asked_for("b", used_ago_ms=PATIENCE_MS + 1)

    ((model, reason),) = world.evictions()

    assert model == "b"
    assert reason.startswith("nobody waits for it any more: it needs ")


def test_one_that_is_to_be_kept_is_never_given_up():
    world = World(1).model("a", used_ago_ms=0).asked_for("b", used_ago_ms=PATIENCE_MS + 1)

    assert world.asked_for("huge", mib=500).victims("b", "huge") == []


def test_the_first_that_asked_is_served_first():
    world = World(1).model("a", used_ago_ms=9000)
    world.asked_for("late", requested_ago_ms=10).asked_for("early", requested_ago_ms=500)

    ((_, reason),) = world.evictions()

    assert "for 'early'" in reason


def test_among_many_the_decision_is_the_same():
    world = World(40)
    for number in range(40):
        world.model(f"m{number:02}", used_ago_ms=50_000 - number)

    assert world.asked_for("new", mib=256).victims() == [f"m{number:02}" for number in range(5)]
