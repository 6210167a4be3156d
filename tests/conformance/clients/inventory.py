"""Each row of the protocol, and the tests that hold it through a client in another process.

Three tables: texts of refusals, what clients rely on, and what they call. A row names its tests as
"file::test" or "file::Class::test", with the case in brackets where a test has a table of its own;
`Open` says which feature must be there first, `Never` why a row cannot happen here.
"""

from typing import NamedTuple


class Open(NamedTuple):
    """Not covered yet: *feature* brings the test."""

    feature: str


class Never(NamedTuple):
    """It cannot happen, and *why*."""

    why: str


def _refused(*cases):
    return tuple(f"conformance/features/test_refusals.py::REFUSED[{case}]" for case in cases)


_REFUSALS = "conformance/features/test_refusals.py::"
_SEMANTICS = "conformance/features/test_semantics.py::"
_STREAMS = "conformance/clients/test_triton_streams.py::"
_CLIENT = "conformance/clients/test_triton_client.py::"
_FIELDS = "conformance/features/test_config_fields.py::"
_OPTIONS = "conformance/features/test_server_options.py::"
_CONTROL = "cluster/features/test_model_control.py::TestExplicit::"
_SHARED = "conformance/features/test_shared_memory.py::"
_POLICIES = "conformance/features/test_queue_policies.py::"
_PERF = "conformance/clients/test_perf_analyzer.py::"
_SEQUENCES = "conformance/features/test_sequences.py::"
_DECOUPLED = "conformance/features/test_decoupled.py::"
_CALLS = "conformance/clients/test_every_call.py::"

MESSAGES = {
    "unknown model (infer, metadata, config)": (
        *_refused("unknown model"),
        f"{_REFUSALS}test_what_is_not_there_has_no_metadata",
    ),
    "unknown version": _refused("unknown version"),
    "model unloaded / none ready": (
        f"{_CONTROL}test_a_model_is_loaded_served_and_unloaded",
        f"{_FIELDS}TestWarmup::test_a_worker_that_cannot_is_not_ready_and_says_why",
    ),
    "version loading/unloading": (
        f"{_FIELDS}TestWarmup::test_a_worker_that_cannot_is_not_ready_and_says_why",
    ),
    "statistics of unknown model / version": (
        f"{_REFUSALS}test_what_is_not_there_has_no_statistics",
    ),
    "too few/many inputs": _refused("too few inputs", "too many inputs"),
    "same with optional inputs": (f"{_FIELDS}TestOptional::test_the_other_input_is_needed",),
    "unknown input name": _refused("unknown input"),
    "unknown output name": _refused("unknown output"),
    "duplicate input / output": _refused("duplicate input", "duplicate output"),
    "wrong datatype": _refused("wrong datatype"),
    "wrong shape": _refused("wrong shape"),
    "-1 in a request shape": _refused("-1 in a request shape"),
    "no shape but batching": _refused("no shape but batching"),
    "batch sizes differ": _refused("batch sizes differ"),
    "batch too big": _refused("batch too big"),
    "byte size mismatch": _refused("byte size mismatch"),
    "BYTES element count": _refused(
        "too few BYTES elements", "too many BYTES elements", "BYTES length cut off"
    ),
    "no data for input": _refused("no data for input"),
    "raw and contents mixed": _refused("raw and contents mixed"),
    "contents of the wrong kind": _refused("contents of the wrong kind"),
    "queue full": (f"{_POLICIES}test_a_full_queue_refuses",),
    "queue timeout (REJECT)": (
        f"{_POLICIES}test_who_waits_longer_than_the_policy_says_is_rejected",
    ),
    "queue timeout (DELAY)": (
        f"{_POLICIES}test_who_is_late_is_served_after_the_others_where_the_policy_delays",
    ),
    "sequence without start": (f"{_SEQUENCES}test_the_first_request_must_start",),
    "sequence batch > 1": (f"{_SEQUENCES}test_a_request_has_one_row",),
    "sequence backlog expired": (
        f"{_SEQUENCES}test_a_sequence_that_gets_no_slot_in_time_is_refused",
    ),
    "cancelled": (f"{_CLIENT}TestInference::test_a_request_can_be_cancelled",),
    "draining, new request": (
        f"{_SEMANTICS}test_a_gateway_that_drains_refuses_new_requests_and_answers_those_it_has",
    ),
    "scheduler stopping": Never("a model that unloads answers what it has; then it is unloaded"),
    "restricted protocol": (f"{_OPTIONS}test_a_restricted_protocol_needs_its_header",),
    "bad model name on load": (f"{_CONTROL}test_refusals_have_tritons_words",),
    "shm register when disabled": (f"{_REFUSALS}test_shared_memory_is_disabled",),
    "ensemble step error": (
        "cluster/features/test_ensembles.py::TestFailures::test_a_failed_step_is_told_with_its_ensemble",
    ),
    "validation order": (f"{_REFUSALS}test_the_first_of_several_faults_is_told_in_tritons_order",),
    "request id in the text, or <id_unknown>": (
        f"{_REFUSALS}test_a_request_without_an_id_is_called_unknown",
    ),
}
"""Case of the table of status codes and messages -> its tests."""

SEMANTICS = {
    "raw contents: one entry for each input that is not in shared memory": (
        f"{_SHARED}test_raw_contents_belong_to_the_other_inputs",
    ),
    "a request with raw contents has no typed ones": _refused("raw and contents mixed"),
    "typed integers are cut to their size; FP16 and BF16 only raw": (
        f"{_SEMANTICS}TestAnswers::test_typed_integers_are_cut_to_their_size_and_come_back_raw",
        "conformance/clients/test_plain_stubs.py::test_a_sixteen_bit_float_has_no_typed_form",
    ),
    "answers are raw, one entry for each output even of no bytes": (
        "conformance/clients/test_plain_stubs.py::test_typed_contents_are_answered_raw",
        f"{_SEMANTICS}TestAnswers::test_an_empty_output_has_its_raw_entry_all_the_same",
    ),
    "outputs in shared memory have an empty raw entry": (
        f"{_SHARED}test_inputs_and_outputs_lie_in_shared_memory",
    ),
    "BYTES: length and content; BF16: two bytes": (
        f"{_CLIENT}TestInference::test_text_comes_back_as_it_was_sent",
        f"{_CLIENT}TestInference::test_numbers_of_every_datatype_come_back_as_they_were_sent",
    ),
    "id echoed": (f"{_SEMANTICS}TestAnswers::test_the_id_comes_back",),
    "model_version of the version that answered": (
        (
            f"{_SEMANTICS}TestAnswers::"
            "test_the_version_is_the_one_that_answered_and_the_highest_is_the_default"
        ),
    ),
    "outputs asked for, or all": (
        f"{_SEMANTICS}TestAnswers::test_all_outputs_come_back_when_none_is_named",
        f"{_SEMANTICS}TestAnswers::test_only_those_that_are_named_otherwise",
    ),
    "a version must be an integer": _refused("version that is no number"),
    "request parameters have types and reserved names": _refused(
        "sequence_id of another type",
        "priority of another type",
        "timeout below zero",
        "a triton_ key",
        "a custom uint64",
    ),
    "custom parameters reach the model": (
        "cluster/features/test_python_models.py::test_requests_share_batches_but_not_with_other_parameters",
    ),
    "input parameters of shared memory": (
        f"{_SHARED}test_inputs_and_outputs_lie_in_shared_memory",
    ),
    "classification": (f"{_CLIENT}TestInference::test_an_output_can_come_back_as_its_top_classes",),
    "the C++ client's parameter on every request": (
        f"{_SEMANTICS}TestAnswers::test_what_the_cpp_client_sets_on_every_request_adds_nothing",
        f"{_PERF}test_it_measures_throughput",
    ),
    "triton_final_response on every answer of a stream": (
        f"{_STREAMS}test_answers_come_in_the_order_of_the_requests",
        f"{_STREAMS}test_the_empty_final_answer_is_the_only_answer_itself",
    ),
    "empty final response of decoupled models": (
        f"{_DECOUPLED}test_the_final_response_is_empty_and_says_what_it_ends",
        f"{_DECOUPLED}test_nobody_gets_a_final_response_without_asking",
    ),
    "errors in the stream, with the id": (
        f"{_STREAMS}test_a_failure_is_told_in_its_turn_and_the_stream_goes_on",
        f"{_STREAMS}test_a_failed_request_has_only_its_id",
    ),
    "triton_grpc_error ends the stream": (
        f"{_STREAMS}test_a_failure_ends_the_stream_with_its_status_if_the_client_wants_it",
    ),
    "order within a stream": (f"{_STREAMS}test_answers_come_in_the_order_of_the_requests",),
    "order of decoupled models": (
        f"{_DECOUPLED}test_requests_of_one_stream_are_answered_as_their_responses_come",
    ),
    "ModelInfer on a decoupled model": (
        f"{_DECOUPLED}test_a_unary_call_is_refused_in_triton_s_words",
    ),
    "ModelReady of an unknown model is false": (f"{_CALLS}test_the_waiting_client",),
    "metadata shapes have the batch dimension": (
        f"{_CLIENT}TestModel::test_metadata_has_the_batch_dimension",
        f"{_CLIENT}TestModel::test_config_has_it_not",
    ),
    "the server is called triton, and names its extensions": (
        f"{_CLIENT}TestServer::test_is_called_triton",
    ),
    "RepositoryIndex": (
        f"{_CONTROL}test_a_model_is_loaded_served_and_unloaded",
        f"{_CLIENT}TestServer::test_lists_the_repository",
    ),
    "unload of an unknown model; load of one; both while polling": (
        f"{_CONTROL}test_refusals_have_tritons_words",
        f"{_REFUSALS}test_models_are_not_loaded_where_the_repository_is_polled",
    ),
    "message sizes": (
        f"{_SEMANTICS}TestSizes::test_messages_of_many_mib_go_both_ways",
        f"{_SEMANTICS}TestSizes::test_a_plain_stub_keeps_its_own_limit_for_what_it_receives",
    ),
    "keepalive pings": (f"{_OPTIONS}test_clients_may_ping_as_often_as_they_like",),
    "compression for each call": (
        f"{_CLIENT}TestInference::test_compressed_requests_are_understood",
    ),
    "load parameters config and file:": (
        f"{_CONTROL}test_a_configuration_comes_with_the_load",
        f"{_CONTROL}test_files_come_with_the_load",
    ),
    "unload_dependents": (
        (
            "cluster/features/test_ensembles.py::TestControl::"
            "test_loading_an_ensemble_loads_what_it_needs_and_unloading_may_unload_it"
        ),
    ),
    "sequence_id, sequence_start, sequence_end": (
        f"{_SEQUENCES}test_a_sequence_adds_up",
        f"{_SEQUENCES}test_strings_are_correlation_ids_too",
        f"{_SEQUENCES}test_a_request_must_belong_to_a_sequence",
    ),
}
"""What clients rely on -> its tests."""

CALLS = {
    "tritonclient, each method": (f"{_CALLS}test_the_waiting_client",),
    "tritonclient.aio, each method": (f"{_CALLS}test_the_asyncio_client",),
    "client_timeout": (f"{_CLIENT}TestInference::test_a_deadline_ends_a_request",),
    "infer(timeout=)": (
        f"{_POLICIES}test_a_request_may_ask_for_a_shorter_wait_where_the_policy_allows_it",
    ),
    "infer(priority=)": (f"{_POLICIES}test_levels_go_first_and_have_their_own_bounds",),
    "CallContext.cancel": (f"{_CLIENT}TestInference::test_a_request_can_be_cancelled",),
    "stop_stream(cancel_requests=True)": (
        f"{_STREAMS}test_a_cancelled_stream_takes_its_requests_out_of_the_queue",
    ),
    "perf_analyzer, sync, async, streaming": (f"{_PERF}test_it_measures_throughput",),
    "perf_analyzer --streaming on a decoupled model": (f"{_DECOUPLED}test_perf_analyzer_streams",),
    "perf_analyzer -b 8": (f"{_PERF}test_it_sends_batches",),
    "perf_analyzer --concurrency-range": (f"{_PERF}test_it_tries_a_range_of_concurrencies",),
    "perf_analyzer --request-rate-range": (f"{_PERF}test_it_tries_a_range_of_request_rates",),
    "perf_analyzer --request-intervals": (f"{_PERF}test_it_sends_at_intervals_of_its_users",),
    "perf_analyzer --shared-memory=system": (
        f"{_SHARED}test_perf_analyzer_passes_tensors_in_shared_memory",
    ),
    "perf_analyzer --string-*, --shape": (
        f"{_PERF}test_it_sends_text_of_a_shape_that_it_is_told",
        f"{_PERF}test_it_is_told_where_a_shape_is_missing",
    ),
    "perf_analyzer --input-data": (f"{_PERF}test_it_sends_what_is_in_a_file",),
    "perf_analyzer --collect-metrics": (f"{_PERF}test_it_collects_metrics",),
    "perf_analyzer of ensembles": (f"{_PERF}test_it_measures_an_ensemble_and_its_steps",),
    "perf_analyzer of sequences": (f"{_SEQUENCES}test_perf_analyzer_sends_sequences",),
}
"""What clients call -> its tests."""
