"""Results become the next job's bytes, or the reply."""

import json
import time

import numpy as np
import pytest
from support.jobs import decoded, inference, work

from penstock.protos.grpc_service_pb2 import ModelInferRequest, ModelInferResponse
from penstock.scheduler.jobs.types import TRACE
from penstock.tensors import NUMPY_TYPES, pack_bytes
from penstock.workers.run import encoding
from penstock.workers.run.encoding import next_payload, reply
from penstock.workers.run.tensor import Tensor
from penstock.workers.run.work import PATH, wants_path

_MARKED = ModelInferRequest()
_MARKED.parameters[TRACE].bool_param = True
MARK = _MARKED.SerializeToString()
"""What a gateway puts behind a request that it traces."""

ROWS = np.arange(6, dtype=np.float32).reshape(2, 3)
LARGE = np.arange(12_000, dtype=np.float32).reshape(2, 6000)  # views begin at 16 KiB


def results(**arrays):
    return encoding.whole_results(arrays, dict.fromkeys(arrays, "FP32"))


def answered(*args):
    """The reply, and its outputs as arrays."""
    message = ModelInferResponse.FromString(reply(*args))
    arrays = {
        output.name: Tensor(output.datatype, tuple(output.shape), raw).array()
        for output, raw in zip(message.outputs, message.raw_output_contents, strict=True)
    }
    return message, arrays


class TestNextPayload:
    def test_the_next_stage_gets_what_travels_on(self):
        job = work({"x": ROWS, "later": ROWS[:, :1]}, ("x",), outputs=["y"], request_id="7")
        h = ROWS * 2

        payload = next_payload(job, results(h=h, unused=h), ("later", "h"), "step")

        got = decoded(payload, ("h", "later"))
        assert list(got.tensors) == ["later", "h"]
        np.testing.assert_array_equal(got.tensors["h"].array(), h)
        np.testing.assert_array_equal(got.tensors["later"].array(), ROWS[:, :1])
        assert (got.id, got.head.model_name) == ("7", "m")
        assert [output.name for output in got.head.outputs] == ["y"]

    def test_the_job_stays_as_it_is(self):
        job = work({"x": ROWS}, path=True)
        before = ModelInferRequest.FromString(job.head.SerializeToString())

        next_payload(job, results(h=ROWS), ("h",), "step")

        assert job.head == before

    def test_large_tensors_travel_too(self):
        job = work({"x": LARGE})

        payload = next_payload(job, results(h=LARGE + 1), ("x", "h"), "step")

        got = decoded(payload, ("x", "h"))
        np.testing.assert_array_equal(got.tensors["x"].array(), LARGE)
        np.testing.assert_array_equal(got.tensors["h"].array(), LARGE + 1)


class TestReply:
    def test_all_outputs_in_the_model_s_order(self):
        job = work({"x": ROWS}, request_id="7")

        message, arrays = answered(job, results(z=ROWS + 1, y=ROWS), ("y", "z"), 3, "step")

        assert (message.model_name, message.model_version, message.id) == ("m", "3", "7")
        assert list(arrays) == ["y", "z"]
        np.testing.assert_array_equal(arrays["z"], ROWS + 1)
        assert message.outputs[0].datatype == "FP32"
        assert list(message.outputs[0].shape) == [2, 3]
        assert len(message.parameters) == 0

    def test_those_that_were_asked_for_in_the_order_asked(self):
        job = work({"x": ROWS}, outputs=["z", "y"])

        _, arrays = answered(job, results(y=ROWS, z=ROWS, w=ROWS), ("y", "z", "w"), 1, "step")

        assert list(arrays) == ["z", "y"]

    def test_an_output_of_an_earlier_stage(self):
        job = work({"h": ROWS, "early": ROWS[:, :1]}, ("h",))

        _, arrays = answered(job, results(y=ROWS), ("early", "y"), 1, "step")

        np.testing.assert_array_equal(arrays["early"], ROWS[:, :1])

    def test_strings_and_bfloat16(self):
        words = np.array([[b"a"], [b"bc"]], dtype=object)
        bits = np.array([[1], [2]], np.uint16)
        found = encoding.whole_results({"s": words, "b": bits}, {"s": "BYTES", "b": "BF16"})

        message, arrays = answered(work({"x": ROWS}), found, ("s", "b"), 1, "step")

        assert message.raw_output_contents[0] == pack_bytes([b"a", b"bc"])
        assert [output.datatype for output in message.outputs] == ["BYTES", "BF16"]
        assert arrays["b"].tolist() == [[1], [2]]

    @pytest.mark.parametrize(
        "array",
        [
            ROWS.T,
            ROWS[:, ::2],
            ROWS.astype(">f4"),
            np.float32(7).reshape(()),
            np.zeros((0, 3), np.float32),
        ],
        ids=["transposed", "strided", "big endian", "scalar", "empty"],
    )
    def test_an_array_of_any_layout(self, array):
        _, arrays = answered(work({"x": ROWS}), results(y=array), ("y",), 1, "step")

        assert arrays["y"].shape == array.shape
        np.testing.assert_array_equal(arrays["y"], array)

    @pytest.mark.parametrize("datatype", sorted(NUMPY_TYPES.keys() - {"BYTES"}))
    def test_every_datatype(self, datatype):
        array = np.array([0, 1, 1], NUMPY_TYPES[datatype])
        found = encoding.whole_results({"y": array}, {"y": datatype})

        message, arrays = answered(work({"x": ROWS}), found, ("y",), 1, "step")

        assert message.outputs[0].datatype == datatype
        np.testing.assert_array_equal(arrays["y"], array)


class TestPath:
    def test_the_way_is_told_from_the_gateway_to_the_last_stage(self):
        first = work({"x": ROWS}, path=True)
        payload = next_payload(first, results(h=ROWS), ("h",), "node-a")
        last = decoded(payload, ("h",))

        message, _ = answered(last, results(y=ROWS), ("y",), 1, "node-b")

        told = message.parameters[PATH].string_param
        assert told == "gateway > node-a > node-b"

    @pytest.mark.parametrize("asked", [None, False])
    def test_nobody_is_told_who_did_not_ask(self, asked):
        job = work({"x": ROWS}, path=asked)

        message, _ = answered(job, results(y=ROWS), ("y",), 1, "step")

        following = decoded(next_payload(job, results(h=ROWS), ("h",), "step"), ("h",))
        assert len(message.parameters) == 0
        assert not wants_path(following.head)


class TestTrace:
    def test_each_worker_adds_its_own_times(self):
        content = inference({"x": ROWS}, request_id="i").SerializeToString() + MARK
        now_s = time.monotonic()
        first = decoded(content, ("x",), now_s=now_s, wait_us=30)
        payload = next_payload(first, results(h=ROWS), ("h",), "node-a")
        last = decoded(payload, ("h",), now_s=now_s - 2, wait_us=50)

        message, arrays = answered(last, results(y=ROWS), ("y",), 1, "node-b")

        one, two = json.loads(message.parameters[TRACE].string_param)
        assert [one["step"], two["step"]] == ["node-a", "node-b"]
        assert [one["queue_us"], two["queue_us"]] == [30, 20]
        assert 0 <= one["work_us"] < 2_000_000 <= two["work_us"]
        assert message.id == "i"
        np.testing.assert_array_equal(arrays["y"], ROWS)


def test_results_of_a_batch_are_cut_at_its_rows():
    arrays = {"y": np.arange(10, dtype=np.float32).reshape(5, 2), "s": np.array([b"a"] * 5, object)}

    shares = encoding.split_results(arrays, {"y": "FP32", "s": "BYTES"}, [(0, 2), (2, 5)])

    assert [share["y"].array().tolist() for share in shares] == [
        [[0, 1], [2, 3]],
        [[4, 5], [6, 7], [8, 9]],
    ]
    assert [share["s"].shape for share in shares] == [(2,), (3,)]
