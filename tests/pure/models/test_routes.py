"""A request's way through an ensemble, and what must go together for there to be one."""

from dataclasses import replace

import pytest
from support.clients.infer_requests import spec
from support.models.ensembles import step

from penstock.errors import InvalidConfiguration
from penstock.gateway.models.catalog import Served
from penstock.models.completion import Deployment
from penstock.models.config.model_config import parse
from penstock.models.config.policies import QueueLimits, QueuePolicy, noted
from penstock.models.refs import StageRef
from penstock.models.routes import Component, compose
from penstock.models.sequencing import SequencePlan, SequenceTerms
from penstock.protos import cluster_pb2 as pb
from penstock.protos import model_config_pb2 as config_pb

WIDE = (-1, 4)


def model(inputs, outputs, *, most=8, labels=None, **batching):
    """A model whose tensors are all FP32 of one shape, unless they say otherwise."""

    def specs(tensors):
        shaped = tensors if isinstance(tensors, dict) else dict.fromkeys(tensors, ("FP32", WIDE))
        return tuple(spec(name, kind, *shape) for name, (kind, shape) in shaped.items())

    config = config_pb.ModelConfig(max_batch_size=most)
    config.dynamic_batching.CopyFrom(config_pb.ModelDynamicBatching(**batching))
    return Deployment(config, specs(inputs), specs(outputs), (), labels or {})


def version(*steps, most=8, inputs=("IN",), outputs=("OUT",), name="e", dims=(4,), kind="FP32"):
    tensors = [f'input {{ name: "{n}" data_type: TYPE_{kind} dims: {list(dims)} }}' for n in inputs]
    tensors += [
        f'output {{ name: "{n}" data_type: TYPE_{kind} dims: {list(dims)} }}' for n in outputs
    ]
    text = (
        f'platform: "ensemble" max_batch_size: {most} {" ".join(tensors)} '
        f"ensemble_scheduling {{ {' '.join(steps)} }}"
    )
    config = parse(text, f"{name}/config.pbtxt")
    return pb.ModelVersion(model=name, version=3, config=config.SerializeToString())


def composed(record, **models):
    """*record* over models, each in version 1 of revision_id g."""

    def lookup(name, number):
        return Component(StageRef(name, number or 1, 0, "g"), models[name])

    return compose(record, lookup)


def refusal(record, **models):
    with pytest.raises(InvalidConfiguration) as caught:
        composed(record, **models)
    return str(caught.value)


ONE = model(["x"], ["y"])
CHAIN = (step("a", {"x": "IN"}, {"y": "mid"}), step("b", {"x": "mid"}, {"y": "OUT"}))


class TestRoute:
    def test_names_contents_and_tensors(self):
        route = composed(version(*CHAIN), a=ONE, b=ONE).route

        assert (route.ensemble, route.version, list(route.outputs)) == ("e", 3, ["OUT"])
        assert [(s.model, s.version, s.revision_id) for s in route.steps] == [
            ("a", 1, "g"),
            ("b", 1, "g"),
        ]
        assert [dict(s.inputs) for s in route.steps] == [{"x": "IN"}, {"x": "mid"}]

    def test_a_version_may_be_named(self):
        steps = (step("a", {"x": "IN"}, {"y": "OUT"}, version=7),)

        assert composed(version(*steps), a=ONE).route.steps[0].version == 7

    def test_what_later_steps_and_the_reply_need_travels_on(self):
        steps = (
            step("a", {"x": "IN"}, {"y": "left"}),
            step("b", {"x": "left"}, {"y": "right"}),
            step("join", {"l": "IN", "r": "right"}, {"y": "OUT"}),
        )
        record = version(*steps, outputs=("OUT", "left"))
        route = composed(record, a=ONE, b=ONE, join=model(["l", "r"], ["y"])).route

        assert [set(s.keeps) for s in route.steps] == [
            {"left", "IN"},
            {"left", "IN", "right"},
            {"OUT", "left"},
        ]

    def test_each_step_queues_as_its_model_says(self):
        policy = {"default_timeout_microseconds": 5, "max_queue_size": 9}
        picky = model(
            ["x"],
            ["y"],
            priority_levels=4,
            default_priority_level=2,
            default_queue_policy=config_pb.ModelQueuePolicy(**policy),
            priority_queue_policy={
                1: config_pb.ModelQueuePolicy(timeout_action=config_pb.ModelQueuePolicy.DELAY)
            },
        )
        first, second = composed(version(*CHAIN), a=ONE, b=picky).route.steps

        assert (first.levels, noted(first, 0)) == (0, QueuePolicy(QueueLimits(), 0, False))
        assert (second.levels, second.default_level) == (4, 2)
        assert noted(second, 2) == QueuePolicy(QueueLimits(9, level=2), 5, False)
        assert noted(second, 1).limits == QueueLimits(level=1, puts_off=True)

    def test_the_first_step_queues_as_a_request_to_its_model_would(self):
        own = config_pb.ModelQueuePolicy(
            timeout_action=config_pb.ModelQueuePolicy.DELAY,
            default_timeout_microseconds=70,
            max_queue_size=3,
        )
        levels = {"priority_levels": 2, "default_priority_level": 1}
        picky = model(["x"], ["y"], priority_queue_policy={1: own}, **levels)
        deployment = composed(version(*CHAIN), a=picky, b=ONE)
        served = Served.of(StageRef("e", 3, 0, "g"), deployment).within(QueueLimits(9, 1 << 20))

        assert served.limits_for(0) == QueueLimits(3, level=1, puts_off=True)
        assert served.limits_for(0, 2) == QueueLimits(9)
        assert (served.rules.default_level, served.rules.timeout_us) == (1, 70)
        assert served.rules.by_level[2].timeout_us == 0
        assert (served.route.route.most_jobs, served.route.route.most_bytes) == (9, 1 << 20)

    def test_an_ensemble_keeps_the_order_if_one_of_its_models_does(self):
        strict = model(["x"], ["y"], preserve_ordering=True)
        for later, ordered in ((strict, True), (ONE, False)):
            deployment = composed(version(*CHAIN), a=ONE, b=later)
            served = Served.of(StageRef("e", 3, 0, "g"), deployment)

            assert (served.order is not None) == ordered

    def test_the_steps_of_an_inner_ensemble_take_its_place(self):
        inner = composed(version(*CHAIN, name="inner"), a=ONE, b=ONE)
        outer = (
            step("inner", {"IN": "IN"}, {"OUT": "done"}),
            step("b", {"x": "done"}, {"y": "OUT"}),
        )
        route = composed(version(*outer), inner=inner, b=ONE).route

        assert [s.model for s in route.steps] == ["a", "b", "b"]
        assert [list(s.within) for s in route.steps] == [["inner"], ["inner"], []]
        assert route.steps[0].inputs["x"] == "IN"
        assert route.steps[0].outputs["y"] == route.steps[1].inputs["x"] != "mid"
        assert route.steps[1].outputs["y"] == route.steps[2].inputs["x"] == "done"

    def test_an_inner_ensemble_may_be_there_twice(self):
        inner = composed(version(*CHAIN, name="inner"), a=ONE, b=ONE)
        outer = (
            step("inner", {"IN": "IN"}, {"OUT": "half"}),
            step("inner", {"IN": "half"}, {"OUT": "OUT"}),
        )
        steps = composed(version(*outer), inner=inner).route.steps
        written = [tensor for s in steps for tensor in s.outputs.values()]

        assert len(set(written)) == len(written) == 4

    def test_labels_are_those_of_the_model_that_writes_the_output(self):
        named = model(["x"], ["y"], labels={"y": ("cat", "dog")})

        assert composed(version(*CHAIN), a=ONE, b=named).labels == {"OUT": ("cat", "dog")}


def test_a_step_that_gives_any_number_of_answers_makes_the_ensemble_one_that_does():
    stream = model(["x"], ["y"])
    stream.config.model_transaction_policy.decoupled = True

    made = composed(version(*CHAIN), a=ONE, b=stream)

    assert made.config.model_transaction_policy.decoupled
    assert [step.decoupled for step in made.route.steps] == [False, True]


class TestRefusals:
    def test_an_input_that_the_model_has_not(self):
        steps = (step("a", {"z": "IN"}, {"y": "OUT"}),)

        assert refusal(version(*steps), a=ONE) == (
            "in ensemble e, ensemble tensor IN is mapped to non-existing input z in model a"
        )

    def test_an_output_that_the_model_has_not(self):
        steps = (step("a", {"x": "IN"}, {"z": "OUT"}),)

        assert refusal(version(*steps), a=ONE) == (
            "in ensemble e, ensemble tensor OUT is mapped from non-existing output z in model a"
        )

    def test_an_input_that_is_left_out(self):
        two = model(["x", "w"], ["y"])

        assert refusal(version(*CHAIN), a=two, b=ONE) == (
            "in ensemble e, input w in model a is not mapped to any ensemble tensors"
        )

    def test_another_datatype(self):
        whole = model({"x": ("INT32", WIDE)}, ["y"])

        assert refusal(version(*CHAIN), a=ONE, b=whole) == (
            "in ensemble e, ensemble tensor mid: inconsistent data type: FP32[-1,4] is inferred "
            "from model a while INT32[-1,4] is inferred from model b"
        )

    @pytest.mark.parametrize("shape", [(-1, 5), (-1, 4, 1)])
    def test_another_shape(self, shape):
        other = model({"x": ("FP32", shape)}, ["y"])

        assert "ensemble tensor mid: inconsistent shape" in refusal(version(*CHAIN), a=ONE, b=other)

    def test_an_output_that_is_declared_otherwise(self):
        told = refusal(version(*CHAIN, dims=(4,)), a=ONE, b=model(["x"], {"y": ("FP32", (-1, 2))}))

        assert "ensemble tensor OUT: inconsistent shape" in told

    def test_a_step_that_takes_fewer_rows(self):
        assert refusal(version(*CHAIN), a=ONE, b=model(["x"], ["y"], most=4)) == (
            "ensemble e allows maximum batch size 8, but it contains model b which only allows "
            "maximum batch size to be 4"
        )

    def test_a_step_that_belongs_to_sequences(self):
        plan = SequencePlan(SequenceTerms(1, 1, b""), (), {}, (), ())
        stateful = replace(model(["x"], ["y"]), sequences=plan)

        told = refusal(version(*CHAIN), a=ONE, b=stateful)

        assert told.startswith("in ensemble e, model b has sequence_batching")

    def test_open_dimensions_go_with_any(self):
        loose = model({"x": ("FP32", (-1, -1))}, {"y": ("FP32", (-1, -1))})

        assert composed(version(*CHAIN), a=loose, b=ONE).route

    def test_an_ensemble_without_batches_may_hand_over_a_batch(self):
        record = version(*CHAIN, most=0, dims=(-1, 4))

        assert [s.batched for s in composed(record, a=ONE, b=ONE).route.steps] == [True, True]
        assert "inconsistent shape" in refusal(version(*CHAIN, most=0), a=ONE, b=ONE)
