"""While one content of a version takes over from another, both have workers, if there is room."""

from support.records import cpu, node, placement, stage, version

from penstock.models.refs import StageRef
from penstock.scheduler.decisions.placement import place
from penstock.scheduler.decisions.wants import MIB, PROCESS_BYTES

ROOM = PROCESS_BYTES["cpu", "onnxruntime"] // MIB


def content(revision_id, replicas=1, **fields):
    made = version(stage(fingerprint=revision_id), revision_id=revision_id, **fields)
    made.replicas = replicas
    return made


def at(revision_id, replica=0, device="cpu:0"):
    return placement(
        replica=replica, device=device, fingerprint=revision_id, revision_id=revision_id
    )


def generations(plan):
    return [(placed.revision_id, placed.replica) for placed in plan.placements]


def test_old_and_new_stand_beside_each_other():
    plan = place([content("new")], [node("n")], [at("old")], [content("old")])

    assert sorted(generations(plan)) == [("new", 0), ("old", 0)]
    assert plan.moves == 1


def test_without_room_for_both_the_old_one_stays():
    plan = place([content("new")], [node("n", cpu(ROOM))], [at("old")], [content("old")])

    assert generations(plan) == [("old", 0)]
    assert plan.refusals[StageRef("m", 1, 0, "new")].startswith("it needs ")


def test_further_replicas_of_the_old_one_make_room_for_the_new_one():
    plan = place(
        [content("new", 2)],
        [node("n", cpu(2 * ROOM))],
        [at("old"), at("old", 1)],
        [content("old", 2)],
    )

    assert sorted(generations(plan)) == [("new", 0), ("old", 0)]
    assert plan.short == {
        StageRef("m", 1, 0, "new"): 1,
        StageRef("m", 1, 0, "old"): 1,
    }


def test_with_room_for_all_none_is_taken_away():
    plan = place(
        [content("new", 2)],
        [node("n", cpu(4 * ROOM))],
        [at("old"), at("old", 1)],
        [content("old", 2)],
    )

    assert sorted(generations(plan)) == [("new", 0), ("new", 1), ("old", 0), ("old", 1)]


def test_the_old_one_gets_no_further_replicas():
    plan = place([], [node("n")], [at("old")], [content("old", 3)])

    assert generations(plan) == [("old", 0)]


def test_the_old_one_finds_a_new_place_when_its_node_is_gone():
    """Requests still go to it."""
    plan = place([content("new")], [node("other")], [at("old")], [content("old")])

    assert {placed.node for placed in plan.placements} == {"other"}
    assert sorted(generations(plan)) == [("new", 0), ("old", 0)]
