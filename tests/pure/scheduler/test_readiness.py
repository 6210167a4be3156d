"""Each version is ready, on its way, or told why it is neither."""

import pytest
from support.clients.infer_requests import spec
from support.records import (
    known,
    node,
    placement,
    signature,
    snapshot,
    stage,
    version,
    worker,
)

from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.decisions.rollout import rollout
from penstock.scheduler.registry.snapshot import VersionId

X, H, Y = (spec(name, "FP32", -1, 4) for name in ("x", "h", "y"))
WHOLE = signature([X], [Y])
PAIR = (signature([X], [H]), signature([H], [Y]))
FIRST = placement("n")


def state(record, **facts):
    states = rollout(snapshot([record], **facts)).newest
    return states[VersionId(record.model, record.version)]


def whole(*workers, **facts):
    """The state of a whole model that was loaded before, on a node that lives."""
    record = version()
    facts = {
        "nodes": [node("n")],
        "placements": [FIRST],
        "signatures": known(record, WHOLE),
    } | facts
    return state(record, workers=workers, **facts)


class TestReady:
    def test_a_worker_holds_it(self):
        found = whole(worker(FIRST))

        assert (found.state, found.reason, found.accepting) == ("READY", "", True)
        assert found.deployment.inputs == (X,)

    def test_one_replica_is_enough(self):
        second = placement("n", replica=1)

        workers = [worker(FIRST, pb.WORKER_STATE_FAILED, "broken"), worker(second)]

        assert whole(*workers, placements=[FIRST, second]).state == "READY"

    def test_each_stage_has_a_worker(self):
        record = version(stage(), stage())
        workers = [worker(placement("n")), worker(placement("o", 1))]

        found = state(record, workers=workers, signatures=known(record, *PAIR))

        assert found.state == "READY"
        assert found.deployment.outputs == (Y,)

    def test_a_worker_outside_the_plan_counts(self):
        assert whole(worker(FIRST), placements=[], nodes=[]).state == "READY"

    def test_all_versions_are_judged_in_order(self):
        records = [version(number=2, error="broken"), version(number=10), version(model="a")]

        found = {id_: one.state for id_, one in rollout(snapshot(records)).routings.items()}

        assert list(found) == [("a", 1), ("m", 2), ("m", 10)]
        assert found["m", 2].state == "UNAVAILABLE"


class TestLoading:
    @pytest.mark.parametrize(
        ("process", "reason", "told"),
        [
            (pb.WORKER_STATE_LOADING, "", "worker n/m/1/0.0 is loading"),
            (pb.WORKER_STATE_DRAINING, "", "worker n/m/1/0.0 is stopping"),
            (
                pb.WORKER_STATE_RESTARTING,
                "it ended with signal 9",
                "worker n/m/1/0.0 is being restarted: it ended with signal 9",
            ),
            (pb.WORKER_STATE_UNSPECIFIED, "", "worker n/m/1/0.0 is starting"),
        ],
    )
    def test_its_worker_is_on_the_way(self, process, reason, told):
        found = whole(worker(FIRST, process, reason))

        assert (found.state, found.reason) == ("LOADING", told)

    def test_its_worker_was_not_seen_yet(self):
        assert whole().reason == "worker n/m/1/0.0 is starting"

    def test_one_replica_failed_and_another_is_on_the_way(self):
        failed = worker(FIRST, pb.WORKER_STATE_FAILED, "broken")

        found = whole(failed, placements=[FIRST, placement("n", replica=1)])

        assert (found.state, found.reason) == ("LOADING", "worker n/m/1/0.1 is starting")

    def test_what_is_known_to_be_good_takes_requests_meanwhile(self):
        assert whole().accepting
        assert whole().deployment.outputs == (Y,)

    def test_what_was_never_loaded_takes_none(self):
        found = whole(signatures={})

        assert (found.state, found.accepting, found.deployment) == ("LOADING", False, None)

    def test_a_worker_that_did_not_tell_what_it_holds_is_waited_for(self):
        found = whole(worker(FIRST), signatures={})

        assert (found.state, found.accepting) == ("LOADING", False)
        assert found.reason == "its shards are not known yet"

    def test_old_content_does_not_count(self):
        old = worker(placement("n", fingerprint="old"))

        assert whole(old, placements=[]).reason == "it is about to be placed on a node"

    def test_a_dead_worker_does_not_count(self):
        found = whole(worker(FIRST), placements=[], dead=["workers/n/m/1/0.0"])

        assert found.reason == "it is about to be placed on a node"

    def test_a_placement_on_a_dead_node_does_not_count(self):
        found = whole(nodes=[node("n"), node("o")], dead=["nodes/n"])

        assert (found.state, found.reason) == ("LOADING", "it is about to be placed on a node")

    @pytest.mark.parametrize("facts", [{"schedulers": ()}, {"dead": ["schedulers/s"]}])
    def test_nobody_is_there_to_place_it(self, facts):
        found = whole(placements=[], **facts)

        assert found.state == "LOADING"
        assert found.reason == "it waits for a scheduler to place it, and none is running"

    def test_the_stages_that_wait_are_named(self):
        record = version(stage(), stage(), stage())
        placed = [placement("n", index) for index in range(3)]
        workers = [
            worker(placed[0]),
            worker(placed[1], pb.WORKER_STATE_LOADING),
            worker(placed[2], pb.WORKER_STATE_LOADING),
        ]

        found = state(record, nodes=[node("n")], placements=placed, workers=workers)

        assert found.reason == (
            "stage 1: worker n/m/1/1.0 is loading; stage 2: worker n/m/1/2.0 is loading"
        )


class TestUnavailable:
    def test_the_repository_s_copy_cannot_be_served(self):
        found = state(version(error="m/1 holds nothing"))

        assert (found.state, found.reason) == ("UNAVAILABLE", "m/1 holds nothing")
        assert not found.accepting

    def test_configuration_and_artifact_do_not_agree(self):
        record = version(text='input { name: "q" data_type: TYPE_FP32 dims: 4 }')

        found = state(record, signatures=known(record, WHOLE), workers=[worker(FIRST)])

        assert found.state == "UNAVAILABLE"
        assert found.reason == (
            "config.pbtxt: input 'q' is not an input of m/1/model.onnx, which has the inputs 'x'"
        )
        assert (found.accepting, found.deployment) == (False, None)

    @pytest.mark.parametrize(("reason", "told"), [("no such op", "no such op"), ("", "it failed")])
    def test_its_worker_cannot_load_it(self, reason, told):
        found = whole(worker(FIRST, pb.WORKER_STATE_FAILED, reason))

        assert (found.state, found.reason, found.accepting) == ("UNAVAILABLE", told, False)

    @pytest.mark.parametrize("process", [pb.WORKER_STATE_LOADING, pb.WORKER_STATE_RESTARTING])
    def test_its_worker_tries_again_what_has_failed(self, process):
        again = worker(FIRST, process)
        again.load_error = "no such op"
        second = worker(placement("n", replica=1), pb.WORKER_STATE_LOADING)

        found = whole(again)

        assert (found.state, found.reason, found.accepting) == ("UNAVAILABLE", "no such op", False)
        assert found.failed
        assert whole(again, second).state == "LOADING"

    def test_there_is_no_place_for_it(self):
        found = whole(nodes=[], placements=[])

        assert found.state == "UNAVAILABLE"
        assert found.reason == "no node is running: start one with 'penstock node'"

    def test_one_stage_without_hope_is_told_alone(self):
        record = version(stage(), stage())
        placed = [placement("n", index) for index in range(2)]
        workers = [
            worker(placed[0], pb.WORKER_STATE_LOADING),
            worker(placed[1], pb.WORKER_STATE_FAILED, "no such op"),
        ]

        found = state(record, nodes=[node("n")], placements=placed, workers=workers)

        assert (found.state, found.reason) == ("UNAVAILABLE", "stage 1: no such op")
