"""What was told stands until it may have been forgotten."""

import contextlib
from types import SimpleNamespace

import pytest

from penstock.errors import StoreUnavailable
from penstock.scheduler.roles.told import SAY_AGAIN_S, Told


@pytest.fixture
def registry():
    return SimpleNamespace(connections_made=1)


@pytest.fixture
def clock():
    return SimpleNamespace(now_s=100.0)


@pytest.fixture
def told(registry, clock):
    return Told(registry, lambda: clock.now_s)


def test_what_was_told_stands_for_a_while_and_nothing_else_does(told, clock):
    assert not told.stands(["a"])
    with told.telling(["a"]):
        assert not told.stands(["a"])

    assert told.stands(["a"])
    assert not told.stands(["a", "b"])
    clock.now_s += SAY_AGAIN_S
    assert not told.stands(["a"])


@pytest.mark.parametrize("meanwhile", [False, True])
def test_over_another_connection_it_is_told_again(told, registry, meanwhile):
    with told.telling(["a"]):
        registry.connections_made += meanwhile
    registry.connections_made += not meanwhile

    assert not told.stands(["a"])


def test_what_could_not_be_told_does_not_stand(told):
    with contextlib.suppress(StoreUnavailable), told.telling(["a"]):
        raise StoreUnavailable("away")

    assert not told.stands(["a"])
