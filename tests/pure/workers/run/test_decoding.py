"""A job's bytes become arrays."""

import numpy as np
import pytest
from support.jobs import decoded, inference, lease, work

from penstock.errors import InvalidRequest
from penstock.scheduler.jobs.types import TRACE
from penstock.tensors import bf16_from_float32
from penstock.workers.run.decoding import Decoder
from penstock.workers.run.work import PATH

ROWS = np.arange(6, dtype=np.float32).reshape(2, 3)
LARGE = np.arange(12_000, dtype=np.float32).reshape(2, 6000)


def read(request, consumes, **fields):
    return decoded(request.SerializeToString(), consumes, now_s=100.0, **fields)


def refusal(payload, consumes=("x",)):
    with pytest.raises(InvalidRequest) as caught:
        decoded(payload, consumes)
    return str(caught.value)


class TestDecode:
    @pytest.mark.parametrize("array", [ROWS, LARGE], ids=["small", "large"])
    def test_inputs_become_arrays(self, array):
        request = inference({"x": array, "n": np.array([[7], [8]])}, request_id="7")

        got = read(request, ("x", "n"), rows=2)

        np.testing.assert_array_equal(got.tensors["x"].array(), array)
        assert got.tensors["n"].array().tolist() == [[7], [8]]
        assert (got.id, got.head.model_name, got.rows) == ("7", "m", 2)
        assert len(got.head.raw_input_contents) == 0

    def test_large_tensors_are_not_copied(self):
        payload = inference({"x": LARGE}).SerializeToString()

        got = decoded(payload, ("x",))

        assert got.tensors["x"].raw.obj is payload

    def test_strings_become_bytes_objects(self):
        words = np.array([[b"a", b""], [b"\xff", b"bc"]], dtype=object)

        got = read(inference({"s": words}), ("s",))

        assert got.tensors["s"].array().tolist() == words.tolist()

    def test_bfloat16_is_its_sixteen_bits(self):
        bits = bf16_from_float32(np.array([[1.0, -2.0]], np.float32))

        got = read(inference({"x": bits}, datatypes={"x": "BF16"}), ("x",))

        assert got.tensors["x"].datatype == "BF16"
        assert got.tensors["x"].array().tolist() == [[0x3F80, 0xC000]]

    def test_the_deadline_is_on_this_process_s_clock(self):
        assert read(inference({"x": ROWS}), ("x",), remaining_ms=1500).ends_s == 101.5

    def test_a_job_that_ran_into_a_crash_stays_alone(self):
        assert read(inference({"x": ROWS}), ("x",), alone=True).alone
        assert not read(inference({"x": ROWS}), ("x",)).alone

    def test_somebody_waits_for_a_job_until_the_renewal_hears_otherwise(self):
        assert not read(inference({"x": ROWS}), ("x",)).revoked

    def test_a_tensor_that_only_passes_through_is_carried(self):
        got = read(inference({"x": ROWS, "later": ROWS[:, :1]}), ("x",))

        assert got.tensors["later"].array().tolist() == [[0.0], [3.0]]

    def test_damage_is_told(self):
        small = inference({"x": ROWS}).SerializeToString()[:-1]
        large = inference({"x": LARGE}).SerializeToString()[:-1]

        assert refusal(small).startswith("the request cannot be read: ")
        assert refusal(large) == "the request cannot be read: the last field is cut off"

    def test_inputs_without_data_are_told(self):
        request = inference({"x": ROWS})
        request.inputs.add(name="y", datatype="FP32", shape=[1])

        assert refusal(request.SerializeToString()) == "2 inputs, but data for 1"

    def test_a_tensor_that_the_stage_needs_is_missing(self):
        payload = inference({"x": ROWS}).SerializeToString()

        assert refusal(payload, ("x", "h")) == "the stage's inputs ['h'] are missing"


class TestShapeKey:
    def test_the_batch_dimension_does_not_matter(self):
        assert work({"x": ROWS}).shape_key == work({"x": ROWS[:1]}).shape_key

    @pytest.mark.parametrize("other", [ROWS[:, :2], ROWS.astype(np.float64), ROWS[:, :, None]])
    def test_other_sizes_types_and_ranks_do(self, other):
        assert work({"x": ROWS}).shape_key != work({"x": other}).shape_key

    def test_without_a_batch_every_dimension_does(self):
        one, two = (work({"x": array}, batched=False) for array in (ROWS, ROWS[:1]))

        assert one.shape_key != two.shape_key

    def test_only_what_the_stage_reads_does(self):
        one = work({"x": ROWS, "later": ROWS}, ("x",))
        two = work({"x": ROWS, "later": ROWS[:, :1]}, ("x",))

        assert one.shape_key == two.shape_key


class TestKnownHeads:
    """A stage reads what is common to requests once; nothing of one may reach another."""

    def test_jobs_with_one_head_have_their_own_ids_and_data(self):
        decoder = Decoder(("x",), batched=True)
        one, other = (
            decoder.decode(lease(inference({"x": ROWS + n}, request_id=id_).SerializeToString()), 0)
            for n, id_ in enumerate(["one", ""])
        )

        assert (one.id, other.id) == ("one", "")
        assert one.head is other.head
        np.testing.assert_array_equal(one.tensors["x"].array(), ROWS)
        np.testing.assert_array_equal(other.tensors["x"].array(), ROWS + 1)

    def test_data_for_too_few_inputs_is_told_of_a_known_head_too(self):
        decoder = Decoder(("x",), batched=True)
        request = inference({"x": ROWS, "n": ROWS})
        decoder.decode(lease(request.SerializeToString()), 0)
        del request.raw_input_contents[1:]

        with pytest.raises(InvalidRequest, match="2 inputs, but data for 1"):
            decoder.decode(lease(request.SerializeToString()), 0)

    @pytest.mark.parametrize("name", [TRACE, PATH, "sequence_id", "mine"])
    def test_requests_that_say_something_of_their_own_are_read_each_time(self, name):
        decoder = Decoder(("x",), batched=True, by_parameters=True)
        request = inference({"x": ROWS})
        request.parameters[name].string_param = "a"

        one, other = (decoder.decode(lease(request.SerializeToString()), 0) for _ in range(2))

        assert one.head is not other.head
        assert one.head == other.head
        assert one.shape_key == other.shape_key
