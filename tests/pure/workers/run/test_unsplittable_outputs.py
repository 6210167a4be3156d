"""Outputs that cannot be split end the sharing of batches, and answer nobody wrongly."""

import numpy as np
import pytest
from support.arithmetic import ask, doubling, executing, outputs
from support.jobs import decoded, inference


class TestOutputsThatCannotBeSplit:
    @pytest.mark.parametrize(
        ("function", "expected"),
        [
            (lambda x: np.asarray(x.sum()), [3, 7]),
            (lambda x: x[:1], [[[1, 2]], [[3, 4]]]),
        ],
        ids=["scalar", "too few rows"],
    )
    def test_jobs_run_one_by_one(self, function, expected):
        execution, runtime = executing(function)

        ran = execution.run([ask([1, 2]), ask([3, 4])])

        assert outputs(ran) == expected
        assert [run["x"].shape[0] for run in runtime.seen] == [2, 1, 1]
        assert "its first dimension must be the batch's" in ran.unsplittable

    def test_one_job_keeps_whatever_it_got(self):
        execution, _ = executing(lambda x: x.sum(axis=0))

        assert outputs(execution.run([ask([1, 2], [3, 4])])) == [[4, 6]]

    def test_one_job_shows_it_before_a_batch_does(self):
        """A batch may have as many rows as the output has of something else."""
        execution, _ = executing(lambda x: np.repeat(x[:1], 6, axis=0))

        assert execution.run([ask([1, 2])]).unsplittable == (
            "output 'y' has shape [6, 2] for a batch of 1: its first dimension must be the batch's"
        )
        assert execution.warm_up(1)[1] == execution.run([ask([1, 2])]).unsplittable.replace(
            "2]", "1]"
        )

    @pytest.mark.parametrize("batched", [True, False])
    def test_nothing_is_said_of_jobs_that_fail_or_have_no_batch(self, batched):
        execution, _ = executing(lambda x: x if batched else x.sum(axis=0), batched=batched)

        assert execution.run([ask([1, 2])]).unsplittable == ""
        assert execution.run([ask([-1, 2])]).unsplittable == ""
        assert execution.warm_up(1)[1] == ""

    def test_rows_that_were_counted_otherwise_are_never_shared_out(self):
        """A gateway of another release may take a dimension for something else."""
        execution, runtime = doubling()
        requests = [
            inference({"x": np.reshape(np.float32(rows), (-1, 2))}).SerializeToString()
            for rows in ([1, 2, 3, 4], [])
        ]

        ran = execution.run([decoded(one, ("x",), rows=1) for one in requests])

        assert outputs(ran) == [[[2, 4], [6, 8]], []]
        assert [run["x"].shape[0] for run in runtime.seen] == [2, 0]
        assert ran.unsplittable == ""
