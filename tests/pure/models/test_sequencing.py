"""`sequence_batching`: what can be said, and what a model with it is given and keeps."""

import numpy as np
import pytest
from support.clients.infer_requests import spec
from support.records import config, signature, version

from penstock.errors import InvalidConfiguration
from penstock.models.completion import complete
from penstock.models.config.model_config import parse
from penstock.protos.grpc_service_pb2 import ModelInferRequest
from penstock.protos.model_config_pb2 import ModelConfig
from penstock.workers.serve.batching import BatchRules

START = (
    'control_input { name: "start" '
    "control { kind: CONTROL_SEQUENCE_START fp32_false_true: [ -1, 2 ] } }"
)
CORRID = (
    'control_input { name: "id" control { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_STRING } }'
)
STATE = 'state { input_name: "s" output_name: "s_next" data_type: TYPE_FP32 dims: [ 3 ] }'
INPUTS = [
    spec("x", "FP32", -1, 4),
    spec("start", "FP32", -1, 1),
    spec("id", "BYTES", -1, 1),
    spec("s", "FP32", -1, 3),
]
OUTPUTS = [spec("y", "FP32", -1, 2), spec("s_next", "FP32", -1, 3)]


def batching(*parts):
    return f"max_batch_size: 8 sequence_batching {{ {' '.join(parts)} }}"


def completed(*parts, inputs=INPUTS, outputs=OUTPUTS, text="", **fields):
    record = version(text=batching(*parts) + text, **fields)
    return complete(record, [signature(inputs, outputs)])


def refusal(call, *arguments, **options):
    with pytest.raises(InvalidConfiguration) as caught:
        call(*arguments, **options)
    return str(caught.value)


class TestSaid:
    @pytest.mark.parametrize(
        "text",
        [
            "",
            "direct { }",
            "direct { max_queue_delay_microseconds: 5 minimum_slot_utilization: 0.5 }",
            "oldest { max_candidate_sequences: 4 preferred_batch_size: 8 }",
            f"max_sequence_idle_microseconds: 5 {START} {CORRID} {STATE}",
            "iterative_sequence: false",
        ],
    )
    def test_what_is_there_is_taken(self, text):
        assert parse(batching(text), "c") == config(batching(text))

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("iterative_sequence: true", "'sequence_batching.iterative_sequence'"),
            ("oldest { preserve_ordering: true }", "'sequence_batching.oldest.preserve_ordering'"),
            ("oldest { max_candidate_sequences: -1 }", "max_candidate_sequences must be 0 or more"),
            ("oldest { preferred_batch_size: 0 }", "preferred_batch_size must be 1 or more"),
            ("direct { minimum_slot_utilization: 2 }", "must be between 0 and 1, got 2"),
            (START + CORRID.replace('"id"', '"start"'), "'start' is listed twice as input"),
            (START + START.replace('"start"', '"b"'), "CONTROL_SEQUENCE_START is given to 2"),
            (START.replace("[ -1, 2 ]", "1"), "fp32_false_true must be two values"),
            (START.replace("fp32_false_true: [ -1, 2 ]", ""), "it must have one of int32"),
            (START.replace("[ -1, 2 ]", "[ 0, 1 ] data_type: TYPE_FP32"), "data_type is for"),
            (CORRID.replace("STRING", "FP32"), "must have a data_type of TYPE_UINT64"),
            (CORRID.replace("TYPE_STRING", "TYPE_INT32 int32_false_true: 1"), "has no int32_false"),
            ('control_input { name: "a" }', "must have one control, not 0"),
            (STATE.replace("[ 3 ]", "[ -1 ]"), "add initial_state with dims"),
            (STATE.replace('"s_next"', '""'), "input_name and output_name must be given"),
            (STATE.replace("TYPE_FP32", "TYPE_INVALID"), "data_type must be given"),
            (STATE[:-1] + "initial_state { dims: 3 } }", "must have zero_data: true, or data_file"),
            (STATE[:-1] + "initial_state { zero_data: true dims: 4 } }", "must be sizes that fit"),
            (STATE[:-1] + 'initial_state { data_file: "../x" dims: 3 } }', "must be the name of a"),
        ],
    )
    def test_what_cannot_be_is_refused_by_name(self, text, told):
        assert told in refusal(parse, batching(text), "c")

    def test_a_decoupled_model_has_no_sequences(self):
        text = "model_transaction_policy { decoupled: true } " + batching(START)

        assert "a decoupled model cannot have sequences" in refusal(parse, text, "c")

    def test_a_python_model_hands_its_state_on(self):
        told = refusal(parse, 'backend: "python"' + batching(CORRID), "c")

        assert "a Python model needs state { ... }" in told
        assert parse('backend: "python"' + batching(STATE), "c").backend == "python"


class TestPlanned:
    def test_clients_do_not_see_what_the_model_is_told(self):
        deployment = completed(START, CORRID, STATE)

        assert [one.name for one in deployment.inputs] == ["x"]
        assert [one.name for one in deployment.outputs] == ["y"]
        assert [one.name for one in deployment.config.output] == ["y"]
        assert not deployment.config.HasField("dynamic_batching")
        assert set(deployment.stages[0].consumes) == {"x", "start", "id", "s"}
        assert deployment.sequences.states == {"s_next": "s"}

    def test_a_state_that_is_listed_is_an_output_too(self):
        text = 'output { name: "s_next" data_type: TYPE_FP32 dims: 3 }'

        assert [one.name for one in completed(START, CORRID, STATE, text=text).outputs] == [
            "s_next"
        ]

    def test_states_begin_with_zeros(self):
        terms = completed(START, CORRID, STATE, replicas=3).sequences.terms
        initial = ModelInferRequest.FromString(terms.initial)

        assert (terms.slots, terms.idle_ms) == (24, 1000)
        assert (initial.inputs[0].name, list(initial.inputs[0].shape)) == ("s", [1, 3])
        assert initial.raw_input_contents[0] == bytes(12)

    def test_states_begin_with_a_files_bytes(self):
        data = np.arange(3, dtype=np.float32).tobytes()
        with_file = STATE[:-1] + 'initial_state { data_file: "f" dims: 3 } }'
        terms = completed(START, CORRID, with_file, initial_states={"f": data}).sequences.terms

        assert ModelInferRequest.FromString(terms.initial).raw_input_contents[0] == data
        told = refusal(completed, START, CORRID, with_file, initial_states={"f": data[1:]})
        assert "data_file 'f' has 11 bytes, but FP32[3] is 12" in told

    @pytest.mark.parametrize(
        ("strategy", "slots"),
        [("direct { }", 8), ("oldest { }", 8), ("oldest { max_candidate_sequences: 30 }", 30)],
    )
    def test_so_many_sequences_run_at_once_for_each_worker(self, strategy, slots):
        assert completed(strategy, START, CORRID, STATE).sequences.terms.slots == slots

    @pytest.mark.parametrize(
        ("parts", "told"),
        [
            ((START, CORRID, STATE.replace('"s"', '"t"')), "input 't' of a state is no input"),
            ((START, CORRID, STATE.replace("FP32", "FP16")), "is FP16[3], but the artifact has"),
            ((START, CORRID, STATE.replace("[ 3 ]", "[ 4 ]")), "is FP32[4], but the artifact has"),
            (
                (
                    START.replace("fp32_false_true: [ -1, 2 ]", "bool_false_true: [ false, true ]"),
                    CORRID,
                    STATE,
                ),
                "is BOOL, but the artifact expects",
            ),
            ((START.replace('"start"', '"s"'), CORRID), "one value for each request"),
        ],
    )
    def test_what_the_artifacts_do_not_have_is_refused(self, parts, told):
        text = 'input { name: "x" data_type: TYPE_FP32 dims: 4 }'
        inputs = INPUTS
        if told.startswith("one value"):
            inputs = [one for one in INPUTS if one.name != "start"]

        assert told in refusal(completed, *parts, inputs=inputs, text="" if inputs else text)

    def test_preferred_sizes_fit_into_a_batch(self):
        told = refusal(completed, "oldest { preferred_batch_size: 9 }", START, CORRID, STATE)

        assert "sequence_batching.oldest.preferred_batch_size 9 is more than max_batch_size" in told

    def test_a_pipeline_hands_controls_and_states_through(self):
        first = signature([spec("x", "FP32", -1, 4), spec("s", "FP32", -1, 3)], [OUTPUTS[1]])
        second = signature([spec("s_next", "FP32", -1, 3), INPUTS[1], INPUTS[2]], [OUTPUTS[0]])
        record = version(*_two_stages(), text=batching(START, CORRID, STATE))
        deployment = complete(record, [first, second])

        assert set(deployment.stages[0].keeps) == {"s_next", "start", "id"}
        assert [one.name for one in deployment.outputs] == ["y"]


class TestBatched:
    @pytest.mark.parametrize(
        ("strategy", "rules"),
        [
            ("", (8, 1, 0)),
            ("direct { max_queue_delay_microseconds: 7 }", (8, 1, 0)),
            (
                "direct { max_queue_delay_microseconds: 7 minimum_slot_utilization: 0.3 }",
                (8, 3, 7),
            ),
            ("oldest { max_queue_delay_microseconds: 7 }", (8, 8, 7)),
            ("oldest { max_queue_delay_microseconds: 7 preferred_batch_size: 4 }", (8, 4, 7)),
            ("oldest { max_queue_delay_microseconds: 7 max_candidate_sequences: 2 }", (8, 2, 7)),
        ],
    )
    def test_the_strategy_says_what_a_batch_waits_for(self, strategy, rules):
        made = BatchRules.of(config(batching(strategy)))

        assert made.together
        assert (made.most_rows, made.enough_rows, made.batch_delay_us) == rules

    def test_without_a_batch_dimension_each_runs_by_itself(self):
        made = ModelConfig()
        made.sequence_batching.SetInParent()

        assert BatchRules.of(made) == BatchRules()


def _two_stages():
    from support.records import stage

    return [stage(), stage()]
