"""Some of ONNX's own node tests, served: a few of each kind; `make node-tests` serves them all."""

import pytest
from models.node_run import EXPLICIT, REFUSED, RIGHT, Outcome, served, table
from support.models.node_cases import node_cases
from support.processes.cluster import Cluster

pytestmark = pytest.mark.timeout(400)

OPERATORS = (
    *("add", "div", "pow", "reshape", "expand", "castlike", "resize", "split", "center_crop_pad"),
    *("slice", "trilu", "constant", "shape", "size", "cumsum", "nonzero", "topk", "gatherelements"),
    *("scatternd", "nonmaxsuppression", "equal", "string_concat", "string_split", "if_", "loop"),
    *("regex_full_match", "stringnormalizer", "ai_onnx_ml.label_encoder", "scan", "lstm", "gru"),
    *("and_", "isnan", "det", "qlinearconv", "maxpool", "batch_normalization", "identity", "max"),
    *("mod", "rangeop"),
)
SERVED = (
    *("add_bcast", "div_int32_trunc", "div_uint8", "pow_types_int32_float32"),  # no zeros, please
    *(
        "reshape_negative_dim",
        "expand_dim_changed",
        "resize_upsample_sizes_nearest_ceil_half_pixel",
    ),
    *("split_variable_parts_1d_opset18", "center_crop_pad_pad", "slice_default_steps", "tril_zero"),
    *("constant", "shape", "size_example", "cumsum_1d", "nonzero_example", "top_k"),
    *("gather_elements_1", "scatternd", "nonmaxsuppression_limit_output_size"),
    *("equal_string", "string_concat", "string_split_basic", "regex_full_match_basic"),
    *("strnormalizer_nostopwords_nochangecase", "ai_onnx_ml_label_encoder_string_int"),
    *("if", "loop11", "scan9_sum", "lstm_defaults", "gru_seq_length"),
    *("and2d", "isnan", "det_nd", "qlinearconv", "maxpool_2d_default", "batchnorm_example"),
)
REASONS = {
    "loop13_seq": "'seq_empty' is a seq(tensor(float)), and the protocol cannot carry that",
    "identity_opt": "'opt_in' is a optional(seq(tensor(float))), and the protocol cannot carry",
    "max_int16": "there is no kernel here for its operator Max (opset 13) with the datatypes",
    "castlike_FLOAT_to_FLOAT8E4M3FN": "is a tensor(float8e4m3fn), and the protocol cannot carry",
    "mod_int64_fmod": "it is of IR version 14, and this one reads versions up to",
    "range_float_type_positive_delta": "it is of opset 27 of ai.onnx, and this one knows opsets up",
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    with Cluster(tmp_path_factory.mktemp("run"), root, *EXPLICIT).running() as cluster:
        yield cluster


@pytest.mark.slow
async def test_node_tests_are_answered_as_onnx_expects_or_refused_with_the_reason(cluster):
    there = node_cases(*OPERATORS)
    cases = [there[f"test_{name}"] for name in (*SERVED, *REASONS)]

    outcomes = {one.case: one for one in await served(cluster.url, cluster.models, cases)}

    print(*table(list(outcomes.values())), sep="\n")
    right = [Outcome(f"test_{name}", RIGHT) for name in SERVED]
    assert [outcomes[one.case] for one in right] == right
    for name, words in REASONS.items():
        outcome = outcomes[f"test_{name}"]
        assert outcome.what == REFUSED
        assert words in outcome.why
