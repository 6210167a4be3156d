"""How stages and their queues are named."""

import pytest

from penstock.models.refs import StageRef


@pytest.mark.parametrize(
    ("ref", "queue"),
    [
        (StageRef("digits", 2, 1), "digits:2:1"),
        (StageRef("digits", 2, 1, "abc"), "digits:2:1~abc"),
        (StageRef("a:7", 2, 1), "a:7:2:1"),
    ],
)
def test_a_stage_names_its_queue_and_is_found_by_it(ref, queue):
    assert ref.queue == queue
    assert StageRef.of_queue(queue) == ref
