"""Whether requests share runs: as the owner says, or as was proved."""

import pytest
from support.clients.infer_requests import spec
from support.completion import LISTED, H, X, Y, completed, refusal
from support.records import PROVED, config, signature

from penstock.models.completion import DEFAULT_MAX_BATCH
from penstock.protos import cluster_pb2 as pb

FULL_DIMS = "runs requests one at a time: config.pbtxt lists all dimensions and no max_batch_size"


class TestBatching:
    def test_open_first_dimensions_are_a_batch(self):
        found = completed().config

        assert found.max_batch_size == DEFAULT_MAX_BATCH == 64
        assert found.HasField("dynamic_batching")

    def test_one_closed_dimension_and_there_is_none(self):
        fixed = spec("y", "FP32", 1, 2)

        deployment = completed("", signature([X], [fixed]))

        assert deployment.config.max_batch_size == 0
        assert not deployment.config.HasField("dynamic_batching")
        assert list(deployment.config.input[0].dims) == [-1, 4]
        assert deployment.outputs == (fixed,)

    def test_a_scalar_has_no_batch(self):
        assert completed("", signature([X], [spec("y", "FP32")])).config.max_batch_size == 0

    @pytest.mark.parametrize(
        ("proofs", "why"),
        [
            ([pb.BatchProof(why="rows mix")], "rows mix"),
            ([None], "no worker has tried whether its rows may run together"),
            ([], "no worker has tried whether its rows may run together"),
        ],
    )
    def test_without_a_proof_there_is_none(self, proofs, why):
        """Requests of any size are taken then, and none shares a run."""
        deployment = completed(proofs=proofs)

        assert deployment.config.max_batch_size == 0
        assert not deployment.config.HasField("dynamic_batching")
        assert (deployment.inputs, deployment.outputs) == ((X,), (Y,))
        assert deployment.batching == f"runs requests one at a time: {why}"

    def test_each_stage_of_a_pipeline_must_be_proved(self):
        pair = signature([X], [H]), signature([H], [Y])
        mixes = pb.BatchProof(why="rows mix")

        assert completed("", *pair).config.max_batch_size == 64
        assert completed("", *pair, proofs=[PROVED, mixes]).batching == (
            "runs requests one at a time: stage 1: rows mix"
        )
        assert completed("", *pair, proofs=[PROVED, None]).config.max_batch_size == 0

    @pytest.mark.parametrize("proofs", [[None], [pb.BatchProof(why="rows mix")]])
    def test_what_the_owner_says_needs_no_proof(self, proofs):
        deployment = completed("max_batch_size: 8 dynamic_batching { }", proofs=proofs)

        assert deployment.config.max_batch_size == 8
        assert deployment.config.HasField("dynamic_batching")
        assert deployment.batching == "batches up to 8: config.pbtxt says so"

    def test_dims_without_the_batch_and_no_proof_keep_requests_apart(self):
        deployment = completed(LISTED, proofs=[pb.BatchProof(why="rows mix")])

        assert deployment.config.max_batch_size == 64
        assert not deployment.config.HasField("dynamic_batching")
        assert deployment.batching == ("runs requests of up to 64 rows one at a time: rows mix")

    def test_it_is_said_what_was_assumed_and_why(self):
        assert completed().batching == "batches up to 64: seen in a test"

    def test_full_dims_ask_for_none(self):
        text = 'input { name: "x" data_type: TYPE_FP32 dims: [ -1, 4 ] }'

        deployment = completed(text)

        assert deployment.config.max_batch_size == 0
        assert list(deployment.config.output[0].dims) == [-1, 2]

    def test_dims_without_the_batch_ask_for_one(self):
        assert completed(LISTED).config.max_batch_size == 64

    def test_requests_share_a_run_only_where_the_owner_says_so(self):
        """As in Triton, a max_batch_size alone batches nothing."""
        alone = completed("max_batch_size: 8").config
        together = completed("max_batch_size: 8 dynamic_batching { }").config

        assert not alone.HasField("dynamic_batching")
        assert together.HasField("dynamic_batching")

    def test_what_the_owner_says_of_batching_stays(self):
        text = "dynamic_batching { preferred_batch_size: 64 max_queue_delay_microseconds: 9 }"

        found = completed(text).config

        assert found.max_batch_size == 64
        assert found.dynamic_batching == config(text).dynamic_batching

    def test_a_tensor_between_stages_decides_as_well(self):
        fixed = spec("h", "FP32", 1, 8)

        deployment = completed("", signature([X], [fixed]), signature([fixed], [Y]))

        assert deployment.config.max_batch_size == 0

    @pytest.mark.parametrize(
        ("signatures", "name", "type_"),
        [
            ([signature([spec("x", "FP32", 1, 4)], [Y])], "x", "FP32[1,4]"),
            ([signature([X], [spec("y", "FP32")])], "y", "FP32[]"),
            (
                [signature([X], [spec("h", "FP32", 3)]), signature([spec("h", "FP32", 3)], [Y])],
                "h",
                "FP32[3]",
            ),
        ],
    )
    def test_a_batch_that_an_artifact_does_not_take_is_refused(self, signatures, name, type_):
        assert refusal("max_batch_size: 4", *signatures) == (
            f"config.pbtxt: max_batch_size is 4, but the first dimension of '{name}' is not of any "
            f"size: it is {type_}; export the model with a dynamic batch dimension, or set "
            "max_batch_size to 0 and list the full dims"
        )

    @pytest.mark.parametrize(
        ("text", "size", "most", "why"),
        [
            ("max_batch_size: 4 dynamic_batching { preferred_batch_size: [ 4, 8 ] }", 8, 4, ""),
            ("dynamic_batching { preferred_batch_size: 65 }", 65, 64, ""),
            (
                """dynamic_batching { preferred_batch_size: 2 }
                input { name: "x" data_type: TYPE_FP32 dims: [ -1, 4 ] }""",
                2,
                0,
                f" (Penstock {FULL_DIMS})",
            ),
        ],
    )
    def test_a_preferred_size_above_the_largest_is_refused(self, text, size, most, why):
        assert refusal(text) == (
            f"config.pbtxt: dynamic_batching.preferred_batch_size {size} is more than "
            f"max_batch_size, which is {most}{why}"
        )
