"""Caches have slopes, not cliffs: what is one too many costs one, not all."""

import pytest
from support.records import known, signature, snapshot, version

from penstock.models.completion import completed
from penstock.protos import cluster_pb2 as pb
from penstock.recent import Recent, Sloping, kept
from penstock.scheduler.decisions.rollout import rollout

SPEC = pb.TensorSpec(name="x", datatype="FP32", shape=[-1, 4])
SIGNATURE = signature([SPEC], [pb.TensorSpec(name="y", datatype="FP32", shape=[-1, 4])])


def deployments(snapshot):
    return [one.state.deployment for one in rollout(snapshot).routings.values()]


def of_many(count):
    """A registry of so many versions, whose artifacts are known."""
    versions = [version(model=f"m{number}") for number in range(count)]
    found = {key: value for one in versions for key, value in known(one, SIGNATURE).items()}
    return snapshot(versions, signatures=found.items())


def test_more_versions_than_any_bound_are_completed_once():
    many = of_many(1_200)

    first, second = deployments(many), deployments(many)

    assert None not in first
    assert all(one is other for one, other in zip(first, second, strict=True))


def test_versions_that_are_gone_are_forgotten():
    deployments(of_many(300))
    for _ in range(2):
        deployments(of_many(3))

    assert len(completed) == 3


def test_what_is_asked_for_is_made_once():
    recent, made = Recent(), []
    for _ in range(3):
        for key in range(10_000):
            recent.of(key, lambda key=key: made.append(key))
        recent.turn()

    assert len(made) == 10_000


@pytest.mark.parametrize("over", [0, 1, 5, 50])
def test_what_is_too_many_costs_a_part_of_the_rest(over):
    """Keys that come in turn, again and again; with the oldest going, all would be made anew."""
    made = []

    @kept(500)
    def value(key):
        made.append(key)
        return str(key)

    rounds = 20
    for _ in range(rounds):
        for key in range(500 + over):
            assert value(key) == str(key)

    assert len(made) <= 500 + over + rounds * over * 8


def test_no_more_is_kept_than_may_be():
    sloping = Sloping(3)
    for key in range(100):
        sloping.keep(key, key)
    sloping.keep(99, "new")

    assert len(sloping) == 3
    assert sloping[99] == "new"
