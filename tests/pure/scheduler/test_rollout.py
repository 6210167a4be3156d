"""Requests go to the old content until the new one is ready, and never back."""

from dataclasses import replace

import pytest
from support.clients.infer_requests import spec
from support.records import known, node, placement, signature, snapshot, stage, version, worker

from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.decisions.rollout import retired, rollout
from penstock.scheduler.registry.snapshot import Outgoing, VersionId

WHOLE = signature([spec("x", "FP32", -1, 4)], [spec("y", "FP32", -1, 4)])
M1, M2 = VersionId("m", 1), VersionId("m", 2)
READY, LOADING, FAILED = (
    pb.WORKER_STATE_READY,
    pb.WORKER_STATE_LOADING,
    pb.WORKER_STATE_FAILED,
)


class World:
    """Contents of model m, each with a worker in some state."""

    def __init__(self):
        self.published, self.outgoing, self.since = [], [], {}
        self.workers, self.signatures, self.gateways = [], {}, {}

    def _content(self, number, revision_id, state, model="m"):
        record = version(
            stage(fingerprint=revision_id), model=model, number=number, revision_id=revision_id
        )
        self.signatures |= known(record, WHOLE) if state == READY else {}
        placed = placement(
            model=model, version=number, fingerprint=revision_id, revision_id=revision_id
        )
        if state is not None:
            one = worker(placed, state, "broken" if state == FAILED else "")
            one.revision_id = revision_id
            self.workers.append(one)
        return record

    def publish(self, number, revision_id, state, at_ms=100, model="m"):
        self.published.append(self._content(number, revision_id, state, model))
        self.since[VersionId(model, number)] = at_ms
        return self

    def retire(self, number, revision_id, state, at_ms=100, model="m"):
        record = self._content(number, revision_id, state, model)
        field = f"repository/{model}/{number}/{revision_id}"
        self.outgoing.append(Outgoing(field, at_ms, record))
        return self

    def gateway(self, id_, *left):
        self.gateways[id_] = pb.Gateway(id=id_, left=left)
        return self

    def snapshot(self, **facts):
        made = snapshot(
            self.published,
            workers=self.workers,
            signatures=self.signatures,
            nodes=[node("n")],
            **facts,
        )
        return replace(
            made,
            outgoing=tuple(self.outgoing),
            since_ms=self.since,
            gateways=dict(self.gateways),
            live=made.live | {f"gateways/{id_}" for id_ in self.gateways},
        )

    def rollout(self, *left):
        return rollout(self.snapshot(), frozenset(left))


def served(found):
    """Version -> revision_id that requests go to, of those that take any."""
    return {
        id_: one.record.revision_id
        for id_, one in found.routings.items()
        if one.record is not None and one.state.accepting
    }


def leaving(found):
    return [one.record.revision_id for one in found.leaving]


class TestNewContent:
    def test_the_old_one_is_served_while_it_loads(self):
        found = World().publish(1, "new", LOADING).retire(1, "old", READY).rollout()

        assert served(found) == {M1: "old"}
        assert found.routings[M1].state.state == "READY"
        assert "newer revision is being loaded" in found.routings[M1].state.reason
        assert found.newest[M1].state == "LOADING"
        assert leaving(found) == []

    def test_it_takes_over_once_it_is_ready(self):
        found = World().publish(1, "new", READY).retire(1, "old", READY).rollout()

        assert served(found) == {M1: "new"}
        assert found.routings[M1].state.reason == ""
        assert leaving(found) == ["old"]

    def test_it_never_takes_over_when_it_cannot_be_loaded(self):
        found = World().publish(1, "new", FAILED).retire(1, "old", READY).rollout()

        assert served(found) == {M1: "old"}
        assert found.routings[M1].state.reason == "its newer revision cannot be served: broken"
        assert found.newest[M1].state == "UNAVAILABLE"

    def test_a_process_that_left_the_old_one_does_not_go_back(self):
        world = World().publish(1, "new", LOADING).retire(1, "old", READY)

        found = world.rollout(world.outgoing[0].left)

        assert served(found) == {}
        assert found.routings[M1].state.state == "LOADING"

    def test_of_several_old_ones_the_latest_that_is_ready_is_served(self):
        world = World().publish(1, "new", LOADING, at_ms=300)
        world.retire(1, "first", READY, at_ms=100).retire(1, "second", READY, at_ms=200)
        world.retire(1, "third", LOADING, at_ms=300)

        found = world.rollout()

        assert served(found) == {M1: "second"}
        assert leaving(found) == ["first", "third"]

    def test_an_old_one_without_workers_is_left_at_once(self):
        found = World().publish(1, "new", LOADING).retire(1, "old", FAILED).rollout()

        assert leaving(found) == ["old"]


class TestOtherVersions:
    def test_a_version_is_served_until_the_one_in_its_place_is_ready(self):
        world = World().publish(2, "two", LOADING).retire(1, "one", READY)

        assert served(world.rollout()) == {M1: "one"}

    def test_and_no_longer(self):
        found = World().publish(2, "two", READY).retire(1, "one", READY).rollout()

        assert served(found) == {M2: "two"}
        assert leaving(found) == ["one"]
        assert found.routings[M1].state.state == "UNLOADING"

    def test_a_version_that_was_taken_away_does_not_wait_for_older_ones(self):
        """Version 1 was broken before version 2 was removed: it is not there in its place."""
        found = World().publish(1, "one", FAILED, 50).retire(2, "two", READY, 100).rollout()

        assert leaving(found) == ["two"]

    def test_other_models_do_not_matter(self):
        found = World().publish(1, "n", LOADING, model="n").retire(1, "m", READY).rollout()

        assert leaving(found) == ["m"]


class TestUnloading:
    def test_a_version_with_nothing_in_its_place_takes_no_more_requests(self):
        found = World().retire(1, "old", READY).rollout()

        assert found.routings[M1].state.state == "UNLOADING"
        assert found.routings[M1].record is None
        assert leaving(found) == ["old"]

    def test_it_is_unloading_while_a_worker_of_it_lives(self):
        world = World().retire(1, "old", READY)
        world.outgoing.clear()

        assert world.rollout().routings[M1].state.state == "UNLOADING"

    def test_its_reason_afterwards_is_that_of_the_load_request(self):
        load_request = pb.LoadRequest(model="m", id="w", unload=True, reason="to make room")
        facts = replace(
            World().snapshot(),
            load_requests={"m": load_request},
            load_results={"m": pb.LoadResult(load_request="w", unloaded=[1, 2])},
        )

        found = rollout(facts).routings

        assert {id_: one.state.state for id_, one in found.items()} == {
            M1: "UNAVAILABLE",
            M2: "UNAVAILABLE",
        }
        assert found[M1].state.reason == "to make room"


class TestRetired:
    def test_when_every_gateway_has_left(self):
        world = World().publish(1, "new", READY).retire(1, "old", READY)
        left = world.outgoing[0].left

        one, both = (
            world.gateway("a", left).gateway("b").snapshot(),
            world.gateway("b", left).snapshot(),
        )

        assert retired(one) == []
        assert [found.record.revision_id for found in retired(both)] == ["old"]

    def test_a_gateway_that_is_dead_is_not_waited_for(self):
        world = World().publish(1, "new", READY).retire(1, "old", READY)
        facts = world.gateway("a", world.outgoing[0].left).gateway("b").snapshot()

        assert len(retired(replace(facts, live=facts.live - {"gateways/b"}))) == 1

    @pytest.mark.parametrize(("state", "count"), [(LOADING, 0), (READY, 1)])
    def test_without_gateways_what_replaced_it_decides(self, state, count):
        world = World().publish(1, "new", state).retire(1, "old", READY)

        assert len(retired(world.snapshot())) == count

    def test_who_left_it_once_has_not_left_it_when_it_retires_again(self):
        world = World().publish(1, "new", READY).retire(1, "old", READY, at_ms=100)
        left = world.outgoing[0].left
        world.outgoing[0] = world.outgoing[0]._replace(since_ms=200)

        assert retired(world.gateway("a", left).snapshot()) == []
