"""What an ensemble's own configuration must be, in Triton's words."""

import pytest

from penstock.errors import InvalidConfiguration
from penstock.models.config.ensembles import in_order
from penstock.models.config.model_config import parse

TENSORS = """
input { name: "IN" data_type: TYPE_FP32 dims: [4] }
output { name: "OUT" data_type: TYPE_FP32 dims: [4] }
"""


def step(model, inputs, outputs, extra=""):
    maps = [f'input_map {{ key: "{k}" value: "{v}" }}' for k, v in inputs.items()]
    maps += [f'output_map {{ key: "{k}" value: "{v}" }}' for k, v in outputs.items()]
    return f'step {{ model_name: "{model}" model_version: -1 {" ".join(maps)} {extra} }}'


def ensemble(*steps, tensors=TENSORS, extra=""):
    return (
        f'name: "e" platform: "ensemble" max_batch_size: 8 {tensors} {extra} '
        f"ensemble_scheduling {{ {' '.join(steps)} }}"
    )


A = step("a", {"x": "IN"}, {"y": "mid"})
B = step("b", {"x": "mid"}, {"y": "OUT"})


def refusal(text):
    with pytest.raises(InvalidConfiguration) as caught:
        parse(text, "e/config.pbtxt")
    return str(caught.value).removeprefix("e/config.pbtxt: ")


def test_a_sound_ensemble_is_taken():
    """In whatever order its steps are listed."""
    for steps in ((A, B), (B, A)):
        config = parse(ensemble(*steps), "e/config.pbtxt")

        assert len(config.ensemble_scheduling.step) == 2


def test_steps_run_after_those_whose_tensors_they_read():
    """Otherwise in the order of the configuration."""
    config = parse(
        ensemble(
            step("join", {"l": "left", "r": "right"}, {"y": "OUT"}),
            step("left", {"x": "IN"}, {"y": "left"}),
            step("right", {"x": "IN"}, {"y": "right"}),
        ),
        "e/config.pbtxt",
    )

    assert in_order(config.ensemble_scheduling.step, ["IN"]) == [1, 2, 0]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (ensemble(), "must specify 'step' for ensemble 'e'"),
        (
            ensemble(step("", {"x": "IN"}, {"y": "OUT"})),
            "must specify 'model_name' in step 0 of ensemble 'e'",
        ),
        (ensemble(step("a", {}, {"y": "OUT"})), "must specify 'input_map' in step 0"),
        (ensemble(step("a", {"x": "IN"}, {})), "must specify 'output_map' in step 0"),
        (
            ensemble(A, step("b", {"x": "IN"}, {"y": "mid", "z": "OUT"})),
            "ensemble tensor 'mid' can appear in an output map only once for ensemble 'e' step 1",
        ),
        (ensemble(A), "ensemble output 'OUT' for ensemble 'e' is not used"),
        (
            ensemble(step("a", {"x": "mid"}, {"y": "OUT"})),
            "ensemble input 'IN' for ensemble 'e' is not used",
        ),
        (
            ensemble(step("a", {"x": "IN", "z": "gone"}, {"y": "OUT"})),
            "output 'OUT' for ensemble 'e' is not written: step 0, 'a', reads 'gone', which no",
        ),
        (
            ensemble(
                step("a", {"x": "IN", "z": "back"}, {"y": "mid"}),
                step("b", {"x": "mid"}, {"y": "back", "z": "OUT"}),
            ),
            "output 'OUT' for ensemble 'e' is not written: step 0, 'a', reads 'back', which only",
        ),
        (
            ensemble(A, B, step("c", {"x": "mid"}, {"y": "spare"})),
            "ensemble tensor 'spare' is unused in ensemble 'e'",
        ),
        (
            ensemble(step("e", {"x": "IN"}, {"y": "OUT"})),
            "circular dependency between ensembles: e -> ... -> e -> e",
        ),
        (
            ensemble(A, B, extra="instance_group { count: 2 }"),
            "instance group should not be specified for ensemble 'e'",
        ),
        (
            ensemble(A, B, tensors=TENSORS.replace("[4] }", "[4] optional: true }", 1)),
            "input 'IN' of ensemble 'e' cannot be optional",
        ),
        (
            ensemble(A, B, tensors=TENSORS.replace("[4] }", "[4] reshape { shape: [2, 2] } }", 1)),
            "input 'IN' of ensemble 'e' cannot have a reshape",
        ),
        (
            ensemble(A, B, extra="model_transaction_policy { decoupled: true }"),
            "model_transaction_policy.decoupled should not be specified for ensemble 'e'",
        ),
        (ensemble(A, B, tensors=""), "must specify 'input' for ensemble 'e'"),
        (
            ensemble(A, B).replace('platform: "ensemble"', ""),
            "ensemble scheduling cannot be set for model 'e' whose platform is not ensemble",
        ),
        (
            ensemble(A, step("b", {"x": "mid"}, {"y": "OUT"}, 'model_namespace: "n"')),
            "Penstock does not implement 'ensemble_scheduling.step.model_namespace'",
        ),
        (
            ensemble(A, B).replace("step {", "max_inflight_requests: 3 step {", 1),
            "Penstock does not implement 'ensemble_scheduling.max_inflight_requests'",
        ),
    ],
)
def test_a_flaw_is_told_in_tritons_words(text, why):
    """Nothing is accepted and then ignored."""
    assert refusal(text).startswith(why)


def test_an_ensemble_needs_steps_even_if_only_its_platform_says_that_it_is_one():
    """As in Triton."""
    assert refusal('platform: "ensemble"') == "must specify 'step' for ensemble 'e'"
