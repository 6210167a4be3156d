"""An ensemble is ready when each of its steps finds a model that is."""

from dataclasses import replace

from support.clients.infer_requests import spec
from support.models.ensembles import step
from support.records import known, node, placement, signature, snapshot, stage, version, worker

from penstock.models.config.ensembles import needs, users
from penstock.models.config.model_config import parse
from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.decisions.rollout import rollout
from penstock.scheduler.registry.snapshot import Outgoing, VersionId

WHOLE = signature([spec("x", "FP32", -1, 4)], [spec("y", "FP32", -1, 4)])
READY, LOADING = pb.WORKER_STATE_READY, pb.WORKER_STATE_LOADING
FAILED = pb.WORKER_STATE_FAILED
E = VersionId("e", 1)


def ensemble(*models, name="e", revision_id="", number=-1):
    """Steps over *models*, one after another."""
    tensors = ["IN", *(f"t{at}" for at in range(1, len(models))), "OUT"]
    inner = {"x": "x", "y": "y"}
    steps = []
    for at, model in enumerate(models):
        names = ("IN", "OUT") if model.startswith("e") else inner.values()
        given, made = names
        steps.append(step(model, {given: tensors[at]}, {made: tensors[at + 1]}, version=number))
    text = (
        'platform: "ensemble" max_batch_size: 8 '
        'input { name: "IN" data_type: TYPE_FP32 dims: [4] } '
        'output { name: "OUT" data_type: TYPE_FP32 dims: [4] } '
        f"ensemble_scheduling {{ {' '.join(steps)} }}"
    )
    config = parse(text, f"{name}/config.pbtxt").SerializeToString()
    return pb.ModelVersion(model=name, version=1, config=config, revision_id=revision_id)


def content(model, number=1, state=READY):
    """A version with a worker in that state."""
    record = version(stage(fingerprint="f"), model=model, number=number)
    signatures = known(record, WHOLE) if state == READY else {}
    placed = placement(model=model, version=number, fingerprint="f")
    return record, signatures, placed, worker(placed, state, "broken" if state == FAILED else "")


def standing(*ensembles, models=(), outgoing=(), **facts):
    signatures = {name: one for _, found, *_ in models for name, one in found.items()}
    seen = snapshot(
        [*ensembles, *(record for record, *_ in models)],
        placements=[placed for _, _, placed, _ in models],
        workers=[one for *_, one in models],
        signatures=signatures,
        nodes=[node("n")],
    )
    return rollout(replace(seen, outgoing=tuple(outgoing), **facts)).routings


def state(*ensembles, **facts):
    return standing(*ensembles, **facts)[E].state


def test_it_is_ready_with_all_of_its_models():
    found = state(ensemble("a", "b"), models=[content("a"), content("b")])

    assert (found.state, found.complete, found.accepting) == ("READY", True, True)
    assert [one.model for one in found.deployment.route.steps] == ["a", "b"]


def test_it_loads_while_one_of_them_does():
    found = state(ensemble("a", "b"), models=[content("a"), content("b", state=LOADING)])

    assert (found.state, found.accepting) == ("LOADING", False)
    assert found.reason.startswith("model 'b': worker ")


def test_it_cannot_be_ready_when_one_of_them_cannot():
    found = state(ensemble("a", "b"), models=[content("a"), content("b", state=FAILED)])

    assert (found.state, found.reason) == ("UNAVAILABLE", "model 'b': broken")


def test_a_model_that_is_not_there_is_named():
    found = state(ensemble("a", "b"), models=[content("a")])

    assert found.state == "UNAVAILABLE"
    assert found.reason == "ensemble e contains models that are not available or ambiguous: b"


def test_a_version_that_is_not_there_is_named():
    found = state(ensemble("a", number=5), models=[content("a")])

    assert found.reason == (
        "ensemble e contains models that are not available or ambiguous: a version 5"
    )


def test_why_it_is_not_there_is_told():
    load_results = {
        "b": pb.LoadResult(load_request="w", error="failed to poll from model repository")
    }
    load_requests = {"b": pb.LoadRequest(model="b", id="w")}
    found = state(
        ensemble("a", "b"),
        models=[content("a")],
        load_requests=load_requests,
        load_results=load_results,
    )

    assert found.state == "UNAVAILABLE"
    assert found.reason.endswith(" or ambiguous: b: failed to poll from model repository")


def test_it_waits_for_a_model_that_is_requested():
    load_requests = {"b": pb.LoadRequest(model="b", id="w")}
    found = state(ensemble("a", "b"), models=[content("a")], load_requests=load_requests)

    assert (found.state, found.reason) == ("LOADING", "model 'b': it is about to be loaded")


def test_the_latest_version_that_takes_requests_is_meant():
    models = [content("a"), content("a", 2), content("a", 3, LOADING)]

    assert state(ensemble("a"), models=models).deployment.route.steps[0].version == 2


def test_what_does_not_go_together_is_told():
    narrow = signature([spec("x", "INT32", -1, 4)], [spec("y", "FP32", -1, 4)])
    record, _, *rest = content("b")
    models = [content("a"), (record, known(record, narrow), *rest)]
    found = state(ensemble("a", "b"), models=models)

    assert found.state == "UNAVAILABLE"
    assert "ensemble tensor t1: inconsistent data type" in found.reason


def test_an_ensemble_may_hold_another():
    found = standing(
        ensemble("e2", "b"), ensemble("a", name="e2"), models=[content("a"), content("b")]
    )

    assert found[E].state.state == found[VersionId("e2", 1)].state.state == "READY"
    assert [one.model for one in found[E].state.deployment.route.steps] == ["a", "b"]


def test_a_circle_of_ensembles_is_refused():
    found = standing(ensemble("e2"), ensemble("e", name="e2"))

    assert found[E].state.state == "UNAVAILABLE"
    assert "circular dependency between ensembles: e -> e2 -> e" in found[E].state.reason


def test_a_replaced_configuration_serves_until_the_new_one_is_ready():
    old = Outgoing("repository/e/1/old", 100, ensemble("a", revision_id="old"))
    facts = {"models": [content("a"), content("b", state=LOADING)], "outgoing": [old]}
    found = standing(ensemble("b", revision_id="new"), **facts, since_ms={E: 100})[E]

    assert found.record.revision_id == "old"
    assert found.state.state == "READY"
    assert found.state.reason.startswith("its newer revision is being loaded: model 'b'")


def test_a_broken_configuration_does_not_replace_a_good_one():
    old = Outgoing("repository/e/1/old", 100, ensemble("a", revision_id="old"))
    broken = pb.ModelVersion(model="e", version=1, error="must specify 'step' for ensemble 'e'")
    found = standing(broken, models=[content("a")], outgoing=[old], since_ms={E: 100})[E]

    assert found.record.revision_id == "old"
    assert "cannot be served: must specify 'step'" in found.state.reason


def test_users_of_a_model_are_all_ensembles_that_need_it():
    records = [ensemble("e2", "b"), ensemble("a", name="e2"), version(model="a")]

    assert needs(records[0]) == ["e2", "b"]
    assert needs(records[2]) == []
    assert users(records) == {"e2": {"e"}, "b": {"e"}, "a": {"e", "e2"}}
