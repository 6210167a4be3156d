"""docs/redis.md names every key, and no other."""

import re
from pathlib import Path

from penstock.scheduler.store.keys import RegistryKeys, partition_keys

PAGE = Path(__file__).parents[3] / "docs" / "redis.md"


def _documented():
    rows = re.findall(r"^\| `(penstock:[^`]+)` \| (\w+) \|", PAGE.read_text(), re.MULTILINE)
    # The last part of a family is the reader's to fill in.
    return {re.sub(r"<.*$", "", key): kind for key, kind in rows}


def _partition():
    return {
        key.replace(partition_keys(7).tag, "{pNN}")
        for name, key in vars(partition_keys(7)).items()
        if name not in ("tag", "prefix")
    }


def _registry():
    return {
        value
        for name, value in vars(RegistryKeys).items()
        if isinstance(value, str) and value.startswith("penstock:") and name != "prefix"
    }


def test_every_key_is_documented_and_every_documented_key_exists():
    assert set(_documented()) == _partition() | _registry()


def test_every_key_has_a_type_that_redis_knows():
    assert set(_documented().values()) <= {"hash", "zset", "string", "list", "stream", "set"}
