"""The stages of a language model are a group on one node, and move together or not at all."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from support.records import cpu, node, stage, version

from penstock.scheduler.decisions.placement import place
from penstock.scheduler.decisions.wants import worker_bytes

ONE = worker_bytes(stage(100, "language"), "cpu") >> 20


def group(mib=(100, 100), replicas=1, **fields):
    return version(*(stage(one, "language") for one in mib), replicas=replicas, **fields)


def nodes_of(plan):
    """(model, replica) -> the node of each stage, in order."""
    found = {}
    for placed in plan.placements:
        found.setdefault((placed.model, placed.replica), []).append(placed.node)
    return found


def test_a_group_is_on_the_node_that_has_room_for_all_of_it():
    # "a" has most room after the first stage, and none for the second.
    plan = place([group()], [node("a", cpu(ONE)), node("b", cpu(2 * ONE))], [])

    assert nodes_of(plan) == {("m", 0): ["b", "b"]}


def test_a_group_may_have_several_devices_of_its_node():
    plan = place([group()], [node("a", cpu(ONE), cpu(ONE, 1))], [])

    assert sorted(placed.device for placed in plan.placements) == ["cpu:0", "cpu:1"]


def test_a_group_that_only_several_nodes_could_hold_is_refused():
    plan = place([group()], [node("a", cpu(ONE)), node("b", cpu(ONE))], [])

    assert plan.placements == ()
    assert set(plan.refusals.values()) == {
        "the stages of the model do not fit on one node together"
    }


def test_stages_of_other_models_may_be_on_several_nodes():
    other = version(stage(100, "pytorch"), stage(100, "pytorch"))
    room = worker_bytes(other.stages[0], "cpu") >> 20
    plan = place([other], [node("a", cpu(room)), node("b", cpu(room))], [])

    assert sorted(nodes_of(plan)["m", 0]) == ["a", "b"]


def test_a_second_group_has_a_node_of_its_own():
    nodes = [node("a"), node("b")]
    plan = place([group(replicas=2)], nodes, [])

    assert nodes_of(plan) == {("m", 0): ["a", "a"], ("m", 1): ["b", "b"]}


def test_groups_that_came_together_are_spread_whole():
    both = [group((100, 100, 100), replicas=2)]
    alone = place(both, [node("a")], [])
    plan = place(both, [node("a"), node("b")], alone.placements)

    assert nodes_of(alone) == {("m", 0): ["a"] * 3, ("m", 1): ["a"] * 3}
    assert nodes_of(plan) == {("m", 0): ["a"] * 3, ("m", 1): ["b"] * 3}


def test_what_is_left_of_a_group_goes_where_the_rest_has_room():
    """Its node has become smaller: one stage would still fit."""
    before = place([group()], [node("a")], [])
    plan = place([group()], [node("a", cpu(ONE)), node("b")], before.placements)

    assert nodes_of(plan) == {("m", 0): ["b", "b"]}


def test_a_group_without_room_is_short_as_a_whole():
    plan = place([group(replicas=2)], [node("a", cpu(3 * ONE))], [])

    assert nodes_of(plan) == {("m", 0): ["a", "a"]}
    assert {ref.stage: lacks for ref, lacks in plan.short.items()} == {0: 1, 1: 1}


sizes = st.lists(st.integers(0, 300), min_size=2, max_size=3).map(tuple)
models = st.lists(st.tuples(sizes, st.integers(1, 3)), min_size=1, max_size=3)
rooms = st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=2), min_size=1, max_size=4)


@given(models, rooms, rooms)
def test_each_group_is_whole_on_one_node_however_nodes_come_and_go(asked, rooms, later):
    versions = [
        group(mib, replicas, model=f"m{number}") for number, (mib, replicas) in enumerate(asked)
    ]
    placements = ()
    for devices in (rooms, later, rooms):
        nodes = [
            node(str(n), *(cpu(512 * room, i) for i, room in enumerate(one)))
            for n, one in enumerate(devices)
        ]
        plan = place(versions, nodes, placements)
        placements = plan.placements

        stages = {record.model: len(record.stages) for record in versions}
        for (model, _), found in nodes_of(plan).items():
            assert len(found) == stages[model]
            assert len(set(found)) == 1
        used = Counter()
        for placed in placements:
            record = next(one for one in versions if one.model == placed.model)
            used[placed.node, placed.device] += worker_bytes(record.stages[placed.stage], "cpu")
        for (name, device), size in used.items():
            assert size <= (512 << 20) * devices[int(name)][int(device.partition(":")[2])]
        again = place(versions, nodes, placements)
        assert again.moves == 0
