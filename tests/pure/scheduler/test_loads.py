"""Jobs for the old and the new content of a version wait for the same stage."""

from penstock.models.refs import StageRef
from penstock.scheduler.observe.loads import Depth, InWork, Load, summed


def test_jobs_of_all_contents_are_counted_and_the_oldest_of_any():
    depths = {
        StageRef("m", 1, 0, "old"): Depth(4, 1500),
        StageRef("m", 1, 0, "new"): Depth(2, 10),
        StageRef("m", 1, 1, "new"): Depth(1, 5),
    }

    in_work = {
        StageRef("m", 1, 0, "old"): InWork(1, 700),
        StageRef("m", 1, 0, "new"): InWork(2, 30),
    }

    assert summed(depths, in_work) == {
        StageRef("m", 1, 0): Load(6, 1500, 3, 700),
        StageRef("m", 1, 1): Load(1, 5, 0, 0),
    }
