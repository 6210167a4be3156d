"""Request parameters: what they mean, and which are refused."""

import pytest
from support.clients.infer_requests import ask, refusal, rules, spec, zeros

from penstock.protos.grpc_service_pb2 import InferParameter
from penstock.scheduler.requests.checks import admit

ONE = rules(spec("x", "FP32", -1, 16))
LEVELS = rules(
    spec("x", "FP32", -1, 16),
    config="dynamic_batching { priority_levels: 3 default_priority_level: 2 }",
)


@pytest.mark.parametrize(
    ("asked", "level"),
    [
        (InferParameter(int64_param=1), 1),
        (InferParameter(uint64_param=3), 3),
        (InferParameter(uint64_param=0), 2),
        (InferParameter(uint64_param=4), 2),
    ],
)
def test_a_priority_beyond_the_models_levels_is_its_default(asked, level):
    assert admit(ask(("x", zeros(1, 16)), priority=asked), LEVELS).priority == level


def test_priorities_mean_nothing_to_a_model_without_levels():
    request = ask(("x", zeros(1, 16)), priority=InferParameter(uint64_param=1))

    assert admit(request, ONE).priority == 0


@pytest.mark.parametrize(
    ("policy", "asked_us", "timeout_us"),
    [
        ("", 700, 700),
        ("default_timeout_microseconds: 500", 100, 500),
        ("default_timeout_microseconds: 500 allow_timeout_override: true", 100, 100),
        ("default_timeout_microseconds: 500 allow_timeout_override: true", 900, 500),
        ("default_timeout_microseconds: 500 allow_timeout_override: true", 0, 500),
    ],
)
def test_a_request_can_shorten_the_models_queue_timeout(policy, asked_us, timeout_us):
    some = rules(
        spec("x", "FP32", -1, 16),
        config=f"dynamic_batching {{ default_queue_policy {{ {policy} }} }}",
    )
    request = ask(("x", zeros(1, 16)), timeout=InferParameter(int64_param=asked_us))

    assert admit(request, some).timeout_us == timeout_us


def test_only_gateways_mark_what_is_traced():
    request = ask(("x", zeros(1, 16)), penstock_trace=InferParameter(bool_param=True))

    assert refusal(request, ONE) == "parameter 'penstock_trace' is reserved: gateways set it"


def test_the_path_is_given_to_those_who_ask():
    request = ask(("x", zeros(1, 16)), penstock_path=InferParameter(bool_param=True))

    assert admit(request, ONE).wants_path


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("triton_enable_empty_final_response", InferParameter(bool_param=False)),
        ("sequence_id", InferParameter(int64_param=42)),
        ("sequence_id", InferParameter(string_param="s")),
        ("sequence_start", InferParameter(bool_param=True)),
        ("mine", InferParameter(double_param=0.5)),
        ("mine", InferParameter(string_param="s")),
    ],
)
def test_these_pass(key, value):
    assert admit(ask(("x", zeros(1, 16)), **{key: value}), ONE).rows == 1


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        (
            "sequence_id",
            InferParameter(bool_param=True),
            (
                "invalid value type for 'sequence_id' parameter, expected "
                "int64_param or string_param."
            ),
        ),
        (
            "sequence_end",
            InferParameter(int64_param=1),
            "invalid value type for 'sequence_end' parameter, expected bool_param.",
        ),
        (
            "priority",
            InferParameter(string_param="1"),
            ("invalid value type for 'priority' parameter, expected int64_param or uint64_param."),
        ),
        (
            "priority",
            InferParameter(int64_param=-1),
            "invalid value for 'priority', expected value >= 0.",
        ),
        (
            "timeout",
            InferParameter(uint64_param=1),
            "invalid value type for 'timeout' parameter, expected int64_param.",
        ),
        (
            "timeout",
            InferParameter(int64_param=-1),
            "invalid value for 'timeout', expected value >= 0.",
        ),
        (
            "mine",
            InferParameter(uint64_param=1),
            (
                "invalid value type for 'mine' parameter, expected "
                "int64_param, bool_param, or string_param."
            ),
        ),
        (
            "mine",
            InferParameter(),
            (
                "invalid value type for 'mine' parameter, expected "
                "int64_param, bool_param, or string_param."
            ),
        ),
        (
            "triton_other",
            InferParameter(bool_param=True),
            (
                "parameter keys starting with 'triton_' are reserved for Triton usage. Only "
                "the following keys starting with 'triton_' are allowed: "
                "triton_enable_empty_final_response"
            ),
        ),
    ],
)
def test_these_are_refused(key, value, text):
    assert refusal(ask(("x", zeros(1, 16)), **{key: value}), ONE) == text
