"""Cores are shared by those that compute at the same time: the stages of a group do not."""

from support.records import placement, snapshot, stage, version

from penstock.workers.node.turns import at_once


def test_the_stages_of_a_group_compute_in_turn():
    grouped = version(stage(runtime="language"), stage(runtime="language"), model="g")
    pipeline = version(stage(), stage(), model="p")
    known = snapshot([grouped, pipeline])
    groups = [placement("n", n, replica, model="g") for n in (0, 1) for replica in (0, 1)]
    stages = [placement("n", n, model="p") for n in (0, 1)]

    assert at_once(groups, known) == 2
    assert at_once(stages, known) == 2
    assert at_once([*groups, *stages], known) == 4
    assert at_once([placement("n", device="cuda:0", model="p")], known) == 0
    assert at_once([placement("n", model="unknown")], known) == 1
