"""Each worker gets a device that its owner allows and that has room, or the reason in words."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.records import MIB, cpu, cuda, node, placement, stage, version

from penstock.models.refs import StageRef
from penstock.scheduler.decisions.placement import Plan, place
from penstock.scheduler.decisions.wants import worker_bytes
from penstock.scheduler.registry.snapshot import placement_id

SMALL = 96  # MiB that an ONNX worker without weights needs on a cpu
LARGE = 96 + 150  # and one with 100 MiB of weights


def where(plan):
    """Placement -> node and device."""
    return {placement_id(p): f"{p.node} {p.device}" for p in plan.placements}


def only_refusal(plan):
    (text,) = set(plan.refusals.values())
    return text


class TestMemory:
    @pytest.mark.parametrize(
        ("kind", "runtime", "mib"),
        [
            ("cpu", "onnxruntime", 96 + 150),
            ("cpu", "pytorch", 384 + 150),
            ("cuda", "onnxruntime", 512 + 150),
            ("cuda", "pytorch", 512 + 150),
        ],
    )
    def test_a_worker_needs_its_libraries_and_half_as_much_again_as_its_weights(
        self, kind, runtime, mib
    ):
        assert worker_bytes(stage(100, runtime), kind) == mib * MIB

    def test_a_device_is_filled_to_the_last_byte(self):
        plan = place([version(stage(100), replicas=2)], [node("a", cpu(2 * LARGE))], [])

        assert where(plan) == {"m/1/0.0": "a cpu:0", "m/1/0.1": "a cpu:0"}

    def test_one_byte_too_few_is_too_few(self):
        device = cpu(LARGE)
        device.memory_bytes -= 1

        plan = place([version(stage(100))], [node("a", device)], [])

        assert plan.placements == ()
        assert only_refusal(plan) == (
            "it needs 246 MiB on a cuda or cpu device, and the most that is free is 245 MiB "
            "(node a, cpu:0): add a node or memory, or serve fewer models"
        )

    def test_what_no_longer_fits_moves_and_the_first_replica_stays(self):
        nodes = [node("a", cpu(LARGE)), node("b", cpu(LARGE))]
        before = [placement("a"), placement("a", replica=1)]

        plan = place([version(stage(100), replicas=2)], nodes, before)

        assert where(plan) == {"m/1/0.0": "a cpu:0", "m/1/0.1": "b cpu:0"}
        assert plan.moves == 1

    def test_the_device_with_the_smallest_part_in_use_is_taken(self):
        nodes = [node("a", cpu(2 * LARGE)), node("b", cpu(10 * LARGE))]
        before = [placement("a", model="x"), placement("b", model="x", replica=1)]
        wanted = [version(stage(100), model="x", replicas=2), version(stage(100), model="y")]

        plan = place(wanted, nodes, before)

        assert where(plan)["y/1/0.0"] == "b cpu:0"


class TestDevices:
    BOTH = (cpu(), cuda())

    def test_a_gpu_is_better_than_a_cpu(self):
        assert where(place([version()], [node("a", *self.BOTH)], [])) == {"m/1/0.0": "a cuda:0"}

    def test_a_cpu_takes_what_the_gpu_has_no_room_for(self):
        nodes = [node("a", cpu(), cuda(mib=511))]

        assert where(place([version()], nodes, [])) == {"m/1/0.0": "a cpu:0"}

    @pytest.mark.parametrize("kind", ["cpu", "cuda"])
    def test_the_owner_chooses_the_kind(self, kind):
        plan = place([version(device_kind=kind)], [node("a", *self.BOTH)], [])

        assert where(plan) == {"m/1/0.0": f"a {kind}:0"}

    def test_the_owner_chooses_the_gpus(self):
        nodes = [node("a", *(cuda(index=index) for index in range(4)))]
        text = "instance_group { kind: KIND_GPU gpus: [1, 3] }"

        plan = place([version(text=text, device_kind="cuda", replicas=3)], nodes, [])

        used = Counter(p.device for p in plan.placements)
        assert used == {"cuda:1": 2, "cuda:3": 1}

    def test_replicas_of_a_stage_on_one_node_share_its_devices_evenly(self):
        nodes = [node("a", cuda(index=0), cuda(index=1))]

        plan = place([version(device_kind="cuda", replicas=4)], nodes, [])

        assert Counter(p.device for p in plan.placements) == {"cuda:0": 2, "cuda:1": 2}

    def test_a_worker_leaves_a_device_that_its_owner_no_longer_allows(self):
        plan = place([version(device_kind="cuda")], [node("a", *self.BOTH)], [placement("a")])

        assert where(plan) == {"m/1/0.0": "a cuda:0"}
        assert plan.moves == 1

    def test_no_gpu_anywhere(self):
        plan = place([version(device_kind="cuda")], [node("a", cpu())], [])

        assert only_refusal(plan) == (
            "no cuda device on any node: set KIND_CPU or add a node with a GPU"
        )

    def test_none_of_the_gpus_asked_for(self):
        text = "instance_group { kind: KIND_GPU gpus: [8, 1] }"

        plan = place([version(text=text, device_kind="cuda")], [node("a", cuda())], [])

        assert only_refusal(plan) == (
            "no node has cuda device 1, 8: correct instance_group.gpus or add such a node"
        )

    def test_no_cpu_anywhere(self):
        plan = place([version(device_kind="cpu")], [node("a", cuda())], [])

        assert only_refusal(plan) == "no cpu device on any node"


class TestKeeping:
    def test_nothing_wanted_is_nothing_placed(self):
        assert place([], [node("a")], []) == Plan((), {}, {}, 0)

    def test_a_placement_says_all_that_a_node_needs(self):
        plan = place([version(stage(), stage(fingerprint="g"), number=3)], [node("a")], [])

        assert plan.placements[1] == placement("a", 1, version=3, fingerprint="g")
        assert plan.moves == 2

    def test_what_is_right_stays_although_another_node_is_empty(self):
        before = [placement("b"), placement("b", 1)]

        plan = place([version(stage(), stage())], [node("a"), node("b")], before)

        assert plan == Plan(tuple(before), {}, {}, 0)

    def test_new_content_stays_where_the_old_was(self):
        plan = place([version(stage(fingerprint="new"))], [node("a"), node("b")], [placement("b")])

        assert plan.placements == (placement("b", fingerprint="new"),)
        assert plan.moves == 1

    def test_what_is_no_longer_published_goes(self):
        plan = place([], [node("a")], [placement("a"), placement("a", 1)])

        assert plan == Plan((), {}, {}, 2)

    def test_a_version_with_an_error_wants_nothing(self):
        plan = place([version(error="it is damaged")], [node("a")], [placement("a")])

        assert plan == Plan((), {}, {}, 1)

    def test_the_surplus_of_replicas_goes(self):
        before = [placement("a", replica=replica) for replica in range(3)]

        plan = place([version(replicas=1)], [node("a")], before)

        assert plan.placements == (placement("a"),)
        assert plan.moves == 2

    def test_workers_of_a_node_that_is_gone_move(self):
        before = [placement("a"), placement("b", replica=1)]

        plan = place([version(replicas=2)], [node("b"), node("c")], before)

        assert where(plan) == {"m/1/0.0": "c cpu:0", "m/1/0.1": "b cpu:0"}
        assert plan.moves == 1

    def test_a_replica_that_lives_is_enough_for_its_version(self):
        """Its mate may lack a place: the version has a worker for the stage all the same."""
        before = [placement("a"), placement("b", replica=1)]

        plan = place([version(replicas=2)], [node("b", cpu(SMALL))], before)

        assert plan == Plan((before[1],), {}, {StageRef("m", 1, 0): 1}, 1)

    def test_a_draining_node_gets_nothing_and_loses_what_it_has(self):
        nodes = [node("a", draining=True), node("b")]
        both = [version(model="m"), version(model="new")]

        plan = place(both, nodes, [placement("a")])

        assert where(plan) == {"m/1/0.0": "b cpu:0", "new/1/0.0": "b cpu:0"}

    def test_a_kept_stage_is_not_given_up_for_its_mate(self):
        nodes = [node("a", cpu(SMALL))]

        plan = place([version(stage(), stage())], nodes, [placement("a"), placement("gone", 1)])

        assert where(plan) == {"m/1/0.0": "a cpu:0"}
        assert set(plan.refusals) == {StageRef("m", 1, 1)}


class TestAllOrNone:
    def test_a_version_gets_all_its_stages_or_none(self):
        plan = place([version(stage(), stage())], [node("a", cpu(SMALL))], [])

        assert plan.placements == ()
        assert plan.refusals == dict.fromkeys(
            [StageRef("m", 1, 0), StageRef("m", 1, 1)],
            "the stages of the model do not fit on the nodes together",
        )

    def test_what_is_taken_back_leaves_its_room_to_others(self):
        wanted = [version(stage(), stage(), model="a"), version(model="b")]

        plan = place(wanted, [node("n", cpu(SMALL))], [])

        assert where(plan) == {"b/1/0.0": "n cpu:0"}

    def test_a_stage_that_would_fit_names_the_one_that_does_not(self):
        plan = place([version(stage(), stage(1000))], [node("a", cpu(500))], [])

        why = (
            "it needs 1596 MiB on a cuda or cpu device, and the most that is free is 500 MiB "
            "(node a, cpu:0): add a node or memory, or serve fewer models"
        )
        assert plan.refusals == {
            StageRef("m", 1, 0): f"stage 1 cannot be placed: {why}",
            StageRef("m", 1, 1): why,
        }

    def test_the_largest_stage_chooses_first(self):
        """A small one on the large device would leave no place for the large one."""
        nodes = [node("a", cpu(LARGE)), node("b", cpu(SMALL))]

        plan = place([version(stage(), stage(100))], nodes, [])

        assert where(plan) == {"m/1/0.0": "b cpu:0", "m/1/1.0": "a cpu:0"}

    def test_every_version_has_a_first_worker_before_any_has_a_second(self):
        wanted = [version(model=model, replicas=2) for model in ("a", "b")]

        plan = place(wanted, [node("n", cpu(3 * SMALL))], [])

        assert sorted(where(plan)) == ["a/1/0.0", "a/1/0.1", "b/1/0.0"]
        assert plan.short == {StageRef("b", 1, 0): 1}
        assert plan.refusals == {}

    def test_a_version_without_a_first_worker_gets_no_replicas(self):
        plan = place([version(stage(), stage(1000), replicas=3)], [node("a", cpu(1000))], [])

        assert plan.placements == ()
        assert plan.short == {}


class TestSpreading:
    def test_replicas_go_to_different_nodes(self):
        plan = place([version(replicas=4)], [node("a"), node("b")], [])

        assert Counter(p.node for p in plan.placements) == {"a": 2, "b": 2}

    def test_replicas_that_came_together_are_spread_over_a_new_node(self):
        before = [placement("a", replica=replica) for replica in range(4)]

        plan = place([version(replicas=4)], [node("a"), node("b")], before)

        assert Counter(p.node for p in plan.placements) == {"a": 2, "b": 2}
        assert plan.moves == 2

    def test_nothing_moves_for_a_difference_of_one(self):
        before = [placement("a"), placement("a", replica=1), placement("b", replica=2)]

        plan = place([version(replicas=3)], [node("a"), node("b")], before)

        assert plan == Plan(tuple(before), {}, {}, 0)

    def test_nothing_moves_to_a_device_of_another_kind(self):
        before = [placement("a", replica=replica, device="cuda:0") for replica in range(2)]

        plan = place([version(replicas=2)], [node("a", cuda()), node("b", cpu())], before)

        assert plan.moves == 0

    def test_nothing_moves_to_a_node_without_room(self):
        before = [placement("a", replica=replica) for replica in range(2)]

        plan = place([version(replicas=2)], [node("a"), node("b", cpu(SMALL - 1))], before)

        assert plan.moves == 0

    def test_a_node_with_fewer_workers_is_better_when_the_room_is_equal(self):
        nodes = [node("a"), node("b")]
        plan = place([version(model=model) for model in ("x", "y")], nodes, [])

        assert where(plan) == {"x/1/0.0": "a cpu:0", "y/1/0.0": "b cpu:0"}


class TestNodes:
    def test_none_is_running(self):
        plan = place([version()], [], [placement("a")])

        assert plan.moves == 1
        assert only_refusal(plan) == "no node is running: start one with 'penstock node'"

    def test_all_are_draining(self):
        plan = place([version()], [node("a", draining=True)], [])

        assert only_refusal(plan) == "every node is draining: start another node"


VERSIONS = st.lists(
    st.builds(
        lambda model, mib, replicas, kind: version(
            *map(stage, mib), model=model, replicas=replicas, device_kind=kind
        ),
        st.sampled_from("xyz"),
        st.lists(st.sampled_from([0, 100, 400]), min_size=1, max_size=3),
        st.integers(1, 4),
        st.sampled_from(["", "cpu", "cuda"]),
    ),
    max_size=3,
    unique_by=lambda record: record.model,
)
NODES = st.lists(
    st.builds(
        lambda id_, mib, gpus, draining: node(
            id_, cpu(mib), *(cuda(size, i) for i, size in enumerate(gpus)), draining=draining
        ),
        st.sampled_from("abcd"),
        st.integers(0, 1500),
        st.lists(st.integers(0, 2000), max_size=2),
        st.sampled_from([False, False, False, True]),
    ),
    max_size=4,
    unique_by=lambda record: record.id,
)


@given(versions=VERSIONS, nodes=NODES, data=st.data())
def test_the_order_of_what_is_known_does_not_matter(versions, nodes, data):
    before = place(versions, nodes[:1], []).placements
    plan = place(versions, nodes, before)

    shuffled = [data.draw(st.permutations(some)) for some in (versions, nodes, before)]

    assert place(*shuffled) == plan


@given(versions=VERSIONS, nodes=NODES)
def test_no_device_holds_more_than_it_has(versions, nodes):
    plan = place(versions, nodes, [])

    used = Counter()
    sizes = {(v.model, s.index): s for v in versions for s in v.stages}
    for p in plan.placements:
        kind = p.device.partition(":")[0]
        used[p.node, p.device] += worker_bytes(sizes[p.model, p.stage], kind)
    room = {(n.id, f"{d.kind}:{d.index}"): d.memory_bytes for n in nodes for d in n.devices}
    draining = {n.id for n in nodes if n.draining}
    assert all(size <= room[place_] and place_[0] not in draining for place_, size in used.items())


@given(versions=VERSIONS, nodes=NODES)
def test_every_stage_has_its_workers_or_a_reason(versions, nodes):
    plan = place(versions, nodes, [])

    placed = Counter(StageRef(p.model, p.version, p.stage) for p in plan.placements)
    for record in versions:
        refs = [StageRef(record.model, 1, one.index) for one in record.stages]
        assert len({ref in placed for ref in refs}) == 1
        for ref in refs:
            assert placed[ref] + plan.short.get(ref, 0) == (record.replicas if placed[ref] else 0)
            assert (ref in plan.refusals) == (placed[ref] == 0)


@given(versions=VERSIONS, nodes=NODES)
def test_a_cluster_comes_to_rest(versions, nodes):
    """Placing again what was placed ends with no moves, after the replicas have spread."""
    before, moves = [], []
    for _ in range(5):
        plan = place(versions, nodes, before)
        before = plan.placements
        moves.append(plan.moves)

    assert moves[-1] == 0
