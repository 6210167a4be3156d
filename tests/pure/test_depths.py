"""Jobs for the old and the new content of a version wait for the same stage."""

from penstock.gateway.depths import summed
from penstock.scheduler.jobs import Depth
from penstock.scheduler.keys import StageRef


def test_jobs_of_all_contents_are_counted_and_the_oldest_of_any():
    depths = {
        StageRef("m", 1, 0, "old"): Depth(4, 1500),
        StageRef("m", 1, 0, "new"): Depth(2, 10),
        StageRef("m", 1, 1, "new"): Depth(1, 5),
    }

    assert summed(depths) == {
        StageRef("m", 1, 0): Depth(6, 1500),
        StageRef("m", 1, 1): Depth(1, 5),
    }
