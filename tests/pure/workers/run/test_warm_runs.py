"""Runs before any request, and runs that show whether the device still does what it did."""

import numpy as np
import pytest
from support.clients.infer_requests import spec
from support.jobs import work
from support.records import signature

from penstock.tensors import float32_from_bf16
from penstock.workers.run.execution import Execution, Failure

MATRIX = signature([spec("x", "FP32", -1, -1)], [spec("y", "FP32", -1, -1)])


class Recording:
    """A shard that keeps what it was run on, and refuses what *refuses* says of."""

    def __init__(self, refuses=lambda _: False, what=MATRIX):
        self.signature, self._refuses = what, refuses
        self.seen = []

    def run(self, inputs, outputs):
        self.seen.append(inputs)
        if self._refuses(inputs["x"]):
            raise RuntimeError("this is nothing for me")
        return dict.fromkeys(outputs, inputs["x"])

    def ran_on(self):
        return [inputs["x"].tolist() for inputs in self.seen]


def executing(refuses=lambda _: False, what=MATRIX, *, batched=True):
    runtime = Recording(refuses, what)
    return Execution(runtime, ["x"], ["y"], batched=batched), runtime


class TestMadeUp:
    @pytest.mark.parametrize(
        ("tensor", "batched", "shape"),
        [
            (spec("x", "FP32", -1, 3), True, (4, 3)),
            (spec("x", "FP32", -1, -1, 2), True, (4, 1, 2)),
            (spec("x", "FP32", -1, 3), False, (1, 3)),
            (spec("x", "FP32", 2, 3), True, (2, 3)),
            (spec("x", "FP32"), False, ()),
        ],
    )
    def test_it_runs_on_zeros_of_a_shape_that_is_allowed(self, tensor, batched, shape):
        execution, runtime = executing(
            what=signature([tensor], [spec("y", "FP32", -1)]), batched=batched
        )

        execution.warm_up(4)

        (inputs,) = runtime.seen
        assert inputs["x"].shape == shape
        assert not inputs["x"].any()

    @pytest.mark.parametrize(
        ("datatype", "dtype"), [("BYTES", object), ("BF16", np.uint16), ("BOOL", bool)]
    )
    def test_it_runs_on_every_datatype(self, datatype, dtype):
        what = signature([spec("x", datatype, -1, 2)], [spec("y", datatype, -1, 2)])
        execution, runtime = executing(what=what)

        execution.warm_up(1)

        assert runtime.seen[0]["x"].dtype == dtype
        assert runtime.seen[0]["x"].tolist() == [[b"", b""] if datatype == "BYTES" else [0, 0]]

    @pytest.mark.parametrize(
        ("shape", "batched", "guesses"),
        [((-1, 3), True, False), ((-1, -1), True, True), ((-1, 3), False, True)],
    )
    def test_it_guesses_where_sizes_are_open(self, shape, batched, guesses):
        closed = spec("closed", "FP32", *([-1] if batched else []), 3)
        what = signature([closed, spec("x", "FP32", *shape)], [spec("y", "FP32", -1)])

        assert executing(lambda x: x, what, batched=batched)[0].guesses is guesses

    @pytest.mark.parametrize(
        ("refuses", "kind", "values"),
        [
            (lambda _: False, "zeros", [0, 0, 0]),
            (lambda x: (x == 0).any(), "ones", [1, 1, 1]),
            (lambda x: len(set(x.reshape(-1))) == 1, "ascending numbers", [1, 2, 3]),
        ],
    )
    def test_it_runs_on_the_first_kind_that_the_shard_takes(self, refuses, kind, values):
        execution, runtime = executing(refuses, signature([spec("x", "INT32", 3)], MATRIX.outputs))

        assert execution.warm_up(1) == (kind, "")
        assert runtime.ran_on()[-1] == values

    def test_what_wants_more_than_one_pixel_has_more(self):
        execution, runtime = executing(lambda x: x.size < 32)

        assert execution.warm_up(2)[0] == "zeros of size 32"
        assert runtime.seen[-1]["x"].shape == (2, 32)

    def test_what_would_be_much_is_not_made(self):
        tensor = spec("x", "FP32", *[-1] * 6)
        execution, runtime = executing(lambda _: True, signature([tensor], MATRIX.outputs))

        with pytest.raises(RuntimeError):
            execution.warm_up(1)
        assert {inputs["x"].size for inputs in runtime.seen} == {1}

    def test_what_takes_none_raises_what_it_says_of_the_first(self):
        execution, runtime = executing(lambda _: True)

        with pytest.raises(RuntimeError, match="nothing for me"):
            execution.warm_up(1)
        assert len(runtime.seen) == 4

    def test_each_kind_is_there_in_every_datatype(self):
        texts, _ = executing(lambda x: x[0] == b"", signature([spec("x", "BYTES", 2)], []))
        halves, runtime = executing(lambda x: not x.any(), signature([spec("x", "BF16", 2)], []))

        assert texts.warm_up(1)[0] == "ones"
        assert halves.warm_up(1)[0] == "ones"
        assert float32_from_bf16(runtime.seen[-1]["x"]).tolist() == [1, 1]


class TestTryDevice:
    def test_on_what_it_was_warmed_up_with(self):
        execution, runtime = executing()
        sample = np.ones((2, 3), np.float32)

        execution.warm_up_on({"x": sample})
        execution.try_device()

        assert runtime.ran_on() == 2 * [sample.tolist()]

    @pytest.mark.parametrize(("length", "tries"), [(1 << 10, 1), (1 << 25, 0)])
    def test_a_large_request_is_not_kept(self, length, tries):
        texts = signature([spec("x", "BYTES", -1, 1)], MATRIX.outputs)
        execution, runtime = executing(lambda x: len(x[0, 0]) < 5, texts)
        with pytest.raises(RuntimeError):
            execution.warm_up(1)
        execution.run([work({"x": np.array([[b"a" * length]], object)})])
        runtime.seen.clear()

        execution.try_device()

        assert len(runtime.seen) == tries

    def test_what_was_never_warmed_up_is_tried_on_what_is_made_up(self):
        execution, runtime = executing()

        execution.try_device()

        assert runtime.ran_on() == [[[0]]]

    def test_what_takes_nothing_made_up_is_tried_on_the_first_request_that_ran(self):
        """Zeros would say that the device is broken each time that a request is."""
        execution, runtime = executing(lambda x: x.max() < 7)
        with pytest.raises(RuntimeError):
            execution.warm_up(1)
        runtime.seen.clear()

        failed = execution.run([work({"x": np.full((1, 2), 3, np.float32)})])
        execution.try_device()
        execution.run([work({"x": np.full((1, 2), 9, np.float32)})])
        execution.run([work({"x": np.full((1, 2), 8, np.float32)})])
        execution.try_device()

        assert isinstance(failed.results[0], Failure)
        assert runtime.ran_on() == [[[3, 3]], [[9, 9]], [[8, 8]], [[9, 9]]]
