"""Every key of a partition, and every key of the registry, is in one slot of a Redis Cluster."""

import re

import pytest

from penstock.models.refs import StageRef
from penstock.scheduler.store.keys import RegistryKeys, partition_keys, partition_of, partition_tag


def hash_tag(key):
    """The part that Redis Cluster hashes: what is in the first braces, if there is something."""
    return re.search(r"{([^}]+)}", key)[0]


def keys_of(owner):
    return {name: key for name, key in vars(owner).items() if not name.startswith("_")}


@pytest.mark.parametrize("partition", [0, 7, 15, 100])
def test_a_partition_has_one_hash_tag(partition):
    keys = keys_of(partition_keys(partition))

    tags = {hash_tag(key) for key in keys.values()}

    assert tags == {partition_tag(partition)} == {partition_keys(partition).tag}
    assert len(set(keys.values())) == len(keys)


def test_the_registry_has_one_hash_tag():
    keys = {n: key for n, key in keys_of(RegistryKeys).items() if isinstance(key, str)}

    assert {hash_tag(key) for key in keys.values()} == {"{registry}"}
    assert len(set(keys.values())) == len(keys)


def test_partitions_have_tags_of_their_own():
    assert len({partition_tag(partition) for partition in range(200)}) == 200
    assert partition_tag(3) == "{p03}"


def test_braces_in_a_name_do_not_move_a_key():
    key = partition_keys(3).ready + StageRef("{other}", 1, 0).queue

    assert key == "penstock:{p03}:ready:{other}:1:0"
    assert hash_tag(key) == "{p03}"


@pytest.mark.parametrize(("model", "partition"), [("digits", 2), ("", 0), ("größe", 9)])
def test_a_model_keeps_its_partition_over_releases(model, partition):
    assert partition_of(model, 16) == partition
    assert partition_of(model, 1) == 0


def test_models_are_spread_over_all_partitions():
    assert {partition_of(f"model-{number}", 16) for number in range(200)} == set(range(16))


def test_a_partition_shows_its_tag():
    assert repr(partition_keys(5)) == "PartitionKeys({p05})"
    assert partition_keys(5) is partition_keys(5)
