"""The stages of a language model are a group: placed, kept and moved together, or not at all."""

from collections import Counter

from hypothesis import example, given
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
    (why,) = set(plan.refusals.values())
    assert why == (
        "the stages of the model do not fit on one node together: add memory, export it in other "
        "stages, or give nodes --hop-host, so that they share it"
    )


def far(name, *rooms, **fields):
    """A node that can share groups with others, with these devices."""
    devices = (cpu(room, index) for index, room in enumerate(rooms))
    return node(name, *devices, **{"hop_host": f"{name}.example", **fields})


def test_a_group_that_no_node_can_hold_alone_is_shared_by_few_that_reach_each_other():
    nodes = [far("a", ONE), far("b", 2 * ONE), far("c", 3 * ONE), node("d", cpu(3 * ONE))]
    plan = place([group((100,) * 5)], nodes, [])

    assert nodes_of(plan) == {("m", 0): ["c", "c", "c", "b", "b"]}
    again = place([group((100,) * 5)], nodes, plan.placements)
    assert again.moves == 0


def test_a_group_is_on_one_node_where_that_can_be():
    nodes = [far("a", ONE), far("b", ONE), far("c", 2 * ONE)]

    assert nodes_of(place([group()], nodes, [])) == {("m", 0): ["c", "c"]}


def test_the_largest_stage_of_a_shared_group_chooses_first():
    large = worker_bytes(stage(500, "language"), "cpu") >> 20
    plan = place([group((100, 500))], [far("a", large), far("b", ONE)], [])

    assert nodes_of(plan) == {("m", 0): ["b", "a"]}


def test_nodes_that_others_reach_on_their_own_machine_alone_share_groups_there():
    here = {"hop_host": "127.0.0.1", "host": "x"}
    two = [far("a", ONE, **here), far("b", ONE, **here)]
    elsewhere = far("c", ONE, **here | {"host": "y"})

    assert nodes_of(place([group()], two, [])) == {("m", 0): ["a", "b"]}
    for other in (elsewhere, far("c", ONE), node("c", cpu(ONE))):
        assert place([group()], [two[0], other], []).placements == ()


def test_a_shared_group_without_room_says_so():
    plan = place([group((100,) * 3)], [far("a", ONE), far("b", ONE)], [])

    assert plan.placements == ()
    (why,) = set(plan.refusals.values())
    assert why == (
        "the stages of the model do not fit on one node, nor on those with --hop-host together: "
        "add memory or a node"
    )


def test_a_shared_group_moves_as_a_whole_when_one_of_its_nodes_dies():
    nodes = [far("a", ONE), far("b", ONE)]
    before = place([group()], nodes, [])
    alone = place([group()], nodes[:1], before.placements)
    after = place([group()], [nodes[0], far("c", 2 * ONE)], before.placements)

    assert sorted(nodes_of(before)["m", 0]) == ["a", "b"]
    assert alone.placements == ()
    assert nodes_of(after) == {("m", 0): ["c", "c"]}


def test_a_shared_group_does_not_stay_where_its_nodes_reach_each_other_no_more():
    before = place([group()], [far("a", ONE), far("b", ONE)], [])
    nodes = [far("a", ONE), node("b", cpu(ONE)), node("c")]
    plan = place([group()], nodes, before.placements)

    assert nodes_of(plan) == {("m", 0): ["c", "c"]}


def test_two_groups_may_share_the_same_nodes():
    nodes = [far("a", 2 * ONE), far("b", 2 * ONE)]
    plan = place([group((100, 100), model="x"), group((100, 100), 1, model="y")], nodes, [])
    assert {len(set(found)) for found in nodes_of(plan).values()} == {1}

    plan = place([group((100, 100, 50), model="x")], nodes, [])
    assert len(set(nodes_of(plan)["x", 0])) == 2


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


@example([((0, 31), 3), ((0, 225), 1), ((0, 203, 300), 1)], [[2], [1]], [[1], [4], [1]], False)
@given(models, rooms, rooms, st.booleans())
def test_each_group_is_whole_where_it_is_however_nodes_come_and_go(asked, rooms, later, shared):
    """On one node, unless they share groups."""
    versions = [
        group(mib, replicas, model=f"m{number}") for number, (mib, replicas) in enumerate(asked)
    ]
    placements, fields = (), {"hop_host": "10.0.0.1"} if shared else {}
    for devices in (rooms, later, rooms):
        nodes = [
            node(str(n), *(cpu(512 * room, i) for i, room in enumerate(one)), **fields)
            for n, one in enumerate(devices)
        ]
        plan = place(versions, nodes, placements)
        placements = plan.placements

        stages = {record.model: len(record.stages) for record in versions}
        for (model, _), found in nodes_of(plan).items():
            assert len(found) == stages[model]
            assert shared or len(set(found)) == 1
        used = Counter()
        for placed in placements:
            record = next(one for one in versions if one.model == placed.model)
            used[placed.node, placed.device] += worker_bytes(record.stages[placed.stage], "cpu")
        for (name, device), size in used.items():
            assert size <= (512 << 20) * devices[int(name)][int(device.partition(":")[2])]
        again = place(versions, nodes, placements)
        assert again.moves == 0
