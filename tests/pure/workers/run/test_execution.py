"""Jobs of a batch run together, and each gets what it would have got alone."""

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.arithmetic import DOUBLED, ask, doubling, executing, outputs
from support.clients.infer_requests import spec
from support.jobs import work
from support.records import config, signature

from penstock.errors import Code
from penstock.scheduler.jobs.types import Timing
from penstock.tensors import bf16_from_float32
from penstock.workers.run.execution import Execution, Failure
from penstock.workers.run.reshaping import Reshaping
from penstock.workers.run.tensor import Tensor
from penstock.workers.runtimes.runtime import InputRejected
from penstock.workers.serve.batching import BatchRules, choose_batch


class Refusing:
    """A shard that takes nothing, and knows of its inputs whether anybody holds them still."""

    def __init__(self):
        self.signature = DOUBLED
        self.seen = []

    def run(self, inputs, outputs):
        self.seen += [weakref.ref(array) for array in inputs.values()]
        raise ValueError(f"no {outputs[0]} of this")


@pytest.mark.parametrize("threads", [0, 1])
def test_a_batch_that_failed_is_held_by_nobody(threads):
    """Not even by its error, before any garbage collection."""
    runtime = Refusing()
    execution = Execution(runtime, ["x"], ["y"], batched=True)
    gc.disable()
    try:
        batch = [ask([1, 2]), ask([3, 4])]
        if threads:
            with ThreadPoolExecutor(threads) as device:
                ran = device.submit(execution.run, batch).result()
        else:
            ran = execution.run(batch)
        told = [result.message for result in ran.results]
        del batch

        assert told == ["no y of this"] * 2
        assert [array() for array in runtime.seen] == [None] * 3
    finally:
        gc.enable()


class TestTogether:
    def test_a_batch_is_one_run_and_each_job_gets_its_rows(self):
        execution, runtime = doubling()

        ran = execution.run([ask([1, 2]), ask([3, 4], [5, 6]), ask([7, 8])])

        assert outputs(ran) == [[[2, 4]], [[6, 8], [10, 12]], [[14, 16]]]
        assert [run["x"].shape for run in runtime.seen] == [(4, 2)]
        assert ran.error is None

    def test_one_job_is_not_copied(self):
        execution, runtime = doubling()

        execution.run([ask([1, 2])])

        assert not runtime.seen[0]["x"].flags.owndata

    def test_the_time_of_each_part_is_measured(self):
        execution, _ = doubling()

        timing = execution.run([ask([1]), ask([2])]).timing

        assert min(timing.input_ns, timing.infer_ns, timing.output_ns) > 0

    def test_strings_are_joined_and_split(self):
        upper = np.vectorize(bytes.upper, otypes=[object])
        words = signature([spec("x", "BYTES", -1, 1)], [spec("y", "BYTES", -1, 1)])
        execution, runtime = executing(upper, words)

        ran = execution.run(
            [work({"x": np.array([[word]], dtype=object)}) for word in (b"a", b"bc")]
        )

        assert outputs(ran) == [[[b"A"]], [[b"BC"]]]
        assert len(runtime.seen) == 1
        assert ran.results[0]["y"].datatype == "BYTES"

    def test_bfloat16_stays_what_it_is(self):
        bits = signature([spec("x", "BF16", -1, 1)], [spec("y", "BF16", -1, 1)])
        execution, _ = executing(lambda x: x, bits)
        halves = [bf16_from_float32(np.array([[n]], np.float32)) for n in (1.5, 2.5)]

        ran = execution.run([work({"x": half}, datatypes={"x": "BF16"}) for half in halves])

        assert [result["y"].datatype for result in ran.results] == ["BF16", "BF16"]
        assert outputs(ran) == [half.tolist() for half in halves]

    def test_several_inputs_and_outputs_keep_their_names(self):
        both = signature(
            [spec("a", "FP32", -1), spec("b", "FP32", -1)],
            [spec("sum", "FP32", -1), spec("difference", "FP32", -1)],
        )
        execution, _ = executing(lambda a, b: (a + b, a - b), both)
        one, two = (
            work({"b": np.array([b], np.float32), "a": np.array([a], np.float32)})
            for a, b in ((5, 3), (9, 1))
        )

        ran = execution.run([one, two])

        assert outputs(ran, "sum") == [[8], [10]]
        assert outputs(ran, "difference") == [[2], [8]]

    def test_a_stage_reads_only_what_it_consumes(self):
        execution, runtime = doubling()
        rows = np.ones((1, 1), np.float32)

        execution.run([work({"x": rows, "later": rows}, ("x",))])

        assert list(runtime.seen[0]) == ["x"]

    @given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=3), min_size=1, max_size=5))
    def test_a_job_gets_the_same_alone_and_in_a_batch(self, jobs):
        execution, _ = doubling()
        works = [ask(*([number] for number in job)) for job in jobs]

        together = outputs(execution.run(works))

        assert together == [outputs(execution.run([one]))[0] for one in works]


class TestFailures:
    def test_bad_input_fails_its_own_job_alone(self):
        execution, runtime = doubling()

        ran = execution.run([ask([1]), ask([-1]), ask([3])])

        refused = Failure(Code.INVALID_ARGUMENT, "numbers must not be negative")
        assert outputs(ran) == [[[2]], refused, [[6]]]
        assert len(runtime.seen) == 4
        assert isinstance(ran.error, InputRejected)

    def test_the_times_of_single_runs_add_up(self):
        execution, _ = doubling()

        ran = execution.run([ask([1]), ask([-1])])

        assert ran.timing.infer_ns > 0
        assert execution.run([ask([-1])]).timing == Timing()

    @pytest.mark.parametrize(
        ("error", "message"),
        [
            (RuntimeError("  device lost\ntrace"), "device lost"),
            (ZeroDivisionError(), "ZeroDivisionError"),
        ],
    )
    def test_what_the_runtime_raises_is_internal_and_one_line(self, error, message):
        def broken(_):
            raise error

        execution, _ = executing(broken)

        ran = execution.run([ask([1])])

        assert ran.results == [Failure(Code.INTERNAL, message)]
        assert ran.error is error

    def test_every_job_is_told_when_all_fail(self):
        execution, _ = doubling()

        ran = execution.run([ask([-1]), ask([-2])])

        assert [result.code for result in ran.results] == [Code.INVALID_ARGUMENT] * 2

    def test_bytes_that_are_no_tensor_fail_their_own_job(self):
        execution, _ = doubling()
        short = ask([1, 2])
        short.tensors["x"] = Tensor("FP32", (1, 2), b"\0")

        ran = execution.run([ask([1, 2]), short])

        assert outputs(ran)[0] == [[2, 4]]
        assert ran.results[1].code == Code.INTERNAL


class TestShapes:
    def test_other_shapes_never_share_a_run(self):
        execution, runtime = doubling()
        staged = [ask([1, 2]), ask([1, 2, 3]), ask([3, 4]), ask([4, 5, 6])]
        rules = BatchRules(most_rows=8, together=True)

        results = {}
        while staged:
            batch = choose_batch(staged, rules)
            results |= zip(map(id, batch), execution.run(batch).results, strict=True)
            staged = [one for one in staged if id(one) not in results]

        assert [run["x"].shape for run in runtime.seen] == [(2, 2), (2, 3)]

    def test_without_a_batch_dimension_the_whole_output_is_the_job_s(self):
        vector = signature([spec("x", "FP32", 3)], [spec("y", "FP32", 1)])
        execution, _ = executing(lambda x: x.sum(keepdims=True), vector, batched=False)

        ran = execution.run([work({"x": np.ones(3, np.float32)}, batched=False)])

        assert outputs(ran) == [[3]]


class TestReshaped:
    CONFIG = config(
        """
        max_batch_size: 8
        input { name: "x" dims: [ 6, -1 ] reshape { shape: [ 2, 3, -1 ] } }
        output { name: "y" dims: 1 reshape { shape: [ ] } }
        """
    )

    def test_the_shard_and_clients_each_have_their_dims(self):
        execution, runtime = executing(
            lambda x: x.sum(axis=(1, 2, 3)), reshaping=Reshaping.of(self.CONFIG, ["x", "y"])
        )

        ran = execution.run(
            [work({"x": np.full((rows, 6, 4), rows, np.float32)}) for rows in (1, 2)]
        )

        assert runtime.seen[0]["x"].shape == (3, 2, 3, 4)
        assert outputs(ran) == [[[24.0]], [[48.0], [48.0]]]

    def test_a_stage_without_such_tensors_has_nothing_to_do(self):
        assert Reshaping.of(self.CONFIG, ["h"]) is None


class TestOptional:
    def test_what_no_request_of_a_batch_brings_is_not_given(self):
        execution, runtime = executing(
            lambda x: x,
            signature(
                [spec("x", "FP32", -1), spec("z", "FP32", -1, optional=True)], DOUBLED.outputs
            ),
        )

        execution.run([ask(1.0), ask(2.0)])

        assert [sorted(seen) for seen in runtime.seen] == [["x"]]

    def test_zeros_are_not_made_for_it(self):
        execution, runtime = executing(
            lambda x: x,
            signature(
                [spec("x", "FP32", -1), spec("z", "FP32", -1, optional=True)], DOUBLED.outputs
            ),
        )

        execution.warm_up(2)

        assert [sorted(seen) for seen in runtime.seen] == [["x"]]
