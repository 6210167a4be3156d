"""A step of an ensemble in a worker: names go in, names come out, and nothing else travels."""

from base64 import b64encode

import numpy as np
import pytest
from support.clients.infer_requests import spec
from support.jobs import decoded, inference

from penstock.errors import InvalidRequest
from penstock.models.config.policies import COUNTED_BYTES, QueueLimits
from penstock.models.refs import StageRef
from penstock.models.routes import keep
from penstock.protos import cluster_pb2 as pb
from penstock.protos.grpc_service_pb2 import ModelInferRequest
from penstock.scheduler.jobs.types import ROUTE
from penstock.tensors import from_raw
from penstock.workers.run.encoding import next_payload
from penstock.workers.run.tensor import Tensor

ROWS = np.arange(8, dtype=np.float32).reshape(2, 4)


def route_step(model, inputs, outputs, **fields):
    facts = {"version": 1, "revision_id": "g", "batched": True} | fields
    return pb.RouteStep(model=model, inputs=inputs, outputs=outputs, **facts)


def routed(*steps, outputs=("OUT",), **bounds):
    keep(steps, list(outputs))
    route = pb.Route(ensemble="e", version=3, steps=steps, outputs=outputs, **bounds)
    return b64encode(route.SerializeToString()).decode()


def work_of(text, arrays, consumes, **parameters):
    """The job of a request for an ensemble, as the worker of its first step has it."""
    request = inference(arrays)
    request.parameters[ROUTE].string_param = text
    for name, value in parameters.items():
        request.parameters[name].int64_param = value
    return decoded(request.SerializeToString(), consumes, rows=2)


def tensor(array):
    return Tensor("FP32", array.shape, array.tobytes())


def carried_in(payload):
    request = ModelInferRequest.FromString(payload)
    pairs = zip(request.inputs, request.raw_input_contents, strict=True)
    return {one.name: from_raw(raw, one.datatype, one.shape) for one, raw in pairs}


TWO = routed(
    route_step("a", {"x": "IN"}, {"y": "mid"}),
    route_step("b", {"x": "mid"}, {"y": "OUT"}, levels=3, default_level=2, timeout_us=5000),
)


def test_the_model_finds_its_inputs_among_the_ensembles_tensors():
    work = work_of(TWO, {"IN": ROWS}, ["x"])

    np.testing.assert_array_equal(work.tensors["x"].array(), ROWS)
    assert list(work.ensemble_tensors) == ["IN"]


def test_a_job_of_an_ensemble_batches_with_direct_ones():
    direct = decoded(inference({"x": ROWS}).SerializeToString(), ["x"])

    assert work_of(TWO, {"IN": ROWS}, ["x"]).shape_key == direct.shape_key


def test_the_next_step_gets_what_it_needs_and_the_rest_of_the_route():
    work = work_of(TWO, {"IN": ROWS}, ["x"])
    tensors = work.ensemble_step.map_outputs(
        work.ensemble_tensors, {"y": tensor(ROWS * 2)}, work.tensors
    )
    keeps = tuple(work.ensemble_step.route_step.keeps)
    payload = next_payload(work, tensors, keeps, "step", work.ensemble_step.rest_of_route)
    after = decoded(payload, ["x"], rows=2)

    assert list(carried_in(payload)) == ["mid"]
    np.testing.assert_array_equal(after.tensors["x"].array(), ROWS * 2)
    assert after.ensemble_step.next_step is None


def moved(text, payload=b"", **asked):
    """Where the job of a request goes after its first step, and how."""
    work = work_of(text, {"IN": ROWS}, ["x"], **asked)
    return work.ensemble_step.move("job", work.head, {"mid": tensor(ROWS)}, payload)


def test_it_queues_with_the_priority_and_the_patience_of_the_next_model():
    for asked, level, wait_ms in (({}, 2, 5), ({"priority": 3}, 3, 5), ({"timeout": 2000}, 2, 5)):
        to, move = moved(TWO, **asked)

        assert to.ref == StageRef("b", 1, 0, "g")
        assert (move.priority, move.begin_within_ms, move.rows) == (level, wait_ms, 2)


def test_a_level_has_the_policy_of_the_next_model_for_it():
    own = pb.LevelPolicy(timeout_us=9000, may_shorten=True, most_jobs=4, puts_off=True)
    after = {"levels": 3, "default_level": 2, "timeout_us": 5000, "most_jobs": 7}
    text = routed(
        route_step("a", {"x": "IN"}, {"y": "mid"}),
        route_step("b", {"x": "mid"}, {"y": "OUT"}, own_policies={1: own}, **after),
    )

    usual, _ = moved(text)
    urgent, move = moved(text, priority=1, timeout=2000)

    assert usual.limits == QueueLimits(7, level=2)
    assert urgent.limits == QueueLimits(4, level=1, puts_off=True)
    assert move.begin_within_ms == 2


def test_no_queue_on_the_way_exceeds_what_the_gateway_allows():
    steps = (
        route_step("a", {"x": "IN"}, {"y": "mid"}),
        route_step("b", {"x": "mid"}, {"y": "OUT"}, levels=2, default_level=1),
    )
    text = routed(*steps, most_jobs=5, most_bytes=1 << 20)

    assert moved(text)[0].limits == QueueLimits(5)
    assert moved(text, b"x" * COUNTED_BYTES)[0].limits == QueueLimits(5, 1 << 20)


def test_a_model_without_batches_gets_one_row():
    text = routed(
        route_step("a", {"x": "IN"}, {"y": "mid"}),
        route_step("b", {"x": "mid"}, {"y": "OUT"}, batched=False),
    )
    work = work_of(text, {"IN": ROWS}, ["x"])

    _, move = work.ensemble_step.move("job", work.head, {"mid": tensor(ROWS)}, b"")
    assert move.rows == 1


def test_between_two_stages_of_a_step_both_kinds_of_tensors_travel():
    text = routed(
        route_step("a", {"x": "IN", "w": "w"}, {"y": "mid"}),
        route_step("b", {"x": "mid", "z": "IN"}, {"y": "OUT"}),
    )
    work = work_of(text, {"IN": ROWS, "w": ROWS + 1, "unused": ROWS}, ["x"])
    inner = {"hidden": tensor(ROWS * 3)}
    tensors = work.ensemble_step.between(
        work.ensemble_tensors, inner, work.tensors, ["hidden", "w"]
    )
    payload = next_payload(work, tensors, tuple(tensors), "step")
    after = decoded(payload, ["hidden", "w"], rows=2)

    assert set(after.ensemble_tensors) == {"IN", "w", "\x1fhidden"}
    np.testing.assert_array_equal(after.tensors["hidden"].array(), ROWS * 3)
    np.testing.assert_array_equal(after.tensors["w"].array(), ROWS + 1)


def test_a_failure_names_the_step_unless_it_does_so_itself():
    step = work_of(TWO, {"IN": ROWS}, ["x"]).ensemble_step

    assert step.reworded("broken") == "broken (step 'a')"
    assert (
        step.reworded("input 'x' is missing for model 'a'") == "input 'x' is missing for model 'a'"
    )


def test_a_failure_names_the_inner_ensembles():
    text = routed(route_step("a", {"x": "IN"}, {"y": "OUT"}, within=["f", "g"]))

    told = work_of(text, {"IN": ROWS}, ["x"]).ensemble_step.reworded("broken")

    assert told == "in ensemble 'f', in ensemble 'g', broken (step 'a')"


@pytest.mark.parametrize(
    ("shape", "most", "why"),
    [
        (
            (-1, 5),
            8,
            "unexpected shape for input 'x' for model 'a'. Expected [-1,5], got [2,4]",
        ),
        ((-1, -1), 1, "inference request batch-size must be <= 1 for 'a'"),
    ],
)
def test_what_the_step_cannot_take_is_refused_in_tritons_words(shape, most, why):
    work = work_of(TWO, {"IN": ROWS}, ["x"])

    with pytest.raises(InvalidRequest) as refused:
        work.ensemble_step.check(work.tensors, [spec("x", "FP32", *shape)], most)
    assert str(refused.value) == why


def test_inputs_of_different_batches_are_refused():
    text = routed(route_step("a", {"x": "IN", "w": "w"}, {"y": "OUT"}))
    work = work_of(text, {"IN": ROWS, "w": ROWS[:1]}, ["x", "w"])
    specs = [spec("x", "FP32", -1, 4), spec("w", "FP32", -1, 4)]

    with pytest.raises(InvalidRequest) as refused:
        work.ensemble_step.check(work.tensors, specs, 8)
    assert str(refused.value) == "input 'w' batch size does not match other inputs for 'a'"
