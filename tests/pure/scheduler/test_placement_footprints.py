"""What workers were measured to hold counts in the place of what their files let one guess."""

import pytest
from support.records import MIB, cpu, cuda, node, stage, version

from penstock.models.config.model_config import BACKEND_RUNTIMES
from penstock.scheduler.decisions.placement import place
from penstock.scheduler.decisions.wants import PROCESS_BYTES, worker_bytes
from penstock.scheduler.registry.snapshot import footprint_id

RECORD = version(stage(100), replicas=2)


def measured(kind, mib):
    return {footprint_id(RECORD, RECORD.stages[0], kind): mib * MIB}


def places(plan):
    return [f"{p.node} {p.device}" for p in plan.placements]


@pytest.mark.parametrize(
    ("kind", "mib", "expected"),
    [("cpu", 200, 220), ("cpu", 20, 96), ("cuda", 2000, 2200), ("cuda", 300, 512)],
)
def test_it_counts_with_some_room_to_grow_and_never_less_than_libraries(kind, mib, expected):
    found = worker_bytes(stage(100), kind, mib * MIB)

    assert found == pytest.approx(expected * MIB, abs=1)


@pytest.mark.parametrize("runtime", sorted({one for one in BACKEND_RUNTIMES.values() if one}))
def test_each_runtime_has_what_its_processes_take_besides_models(runtime):
    """What nobody had entered was taken for half a GiB."""
    found = worker_bytes(stage(100, runtime=runtime), "cpu")

    assert (150 + 64) * MIB <= found <= (150 + 400) * MIB
    assert ("cpu", runtime) in PROCESS_BYTES


def test_of_a_device_of_another_kind_nothing_was_measured():
    nodes = [node("a", cpu(2 * 246))]

    assert len(places(place([RECORD], nodes, [], (), measured("cuda", 5000)))) == 2


def test_less_than_was_guessed_makes_room_for_more():
    nodes = [node("a", cuda(2 * 550))]

    before = place([RECORD], nodes, [])
    after = place([RECORD], nodes, before.placements, (), measured("cuda", 300))

    assert places(before) == ["a cuda:0"]
    assert places(after) == ["a cuda:0", "a cuda:0"]


def test_more_than_was_guessed_ends_no_worker_and_lets_no_other_in():
    nodes = [node("a", cuda(2000))]
    before = place([RECORD], nodes, [])
    other = version(stage(), model="n")

    after = place([RECORD, other], nodes, before.placements, (), measured("cuda", 3000))

    assert places(before) == ["a cuda:0", "a cuda:0"]
    assert after.placements == before.placements
    assert [ref.model for ref in after.refusals] == ["n"]
