"""What was told stands until it may have been forgotten."""

import contextlib
from types import SimpleNamespace

import pytest

from penstock.errors import StoreUnavailable
from penstock.scheduler.roles.announced import ANNOUNCE_AGAIN_S, LastAnnounced


@pytest.fixture
def registry():
    return SimpleNamespace(connections_made=1)


@pytest.fixture
def clock():
    return SimpleNamespace(now_s=100.0)


@pytest.fixture
def announced(registry, clock):
    return LastAnnounced(registry, lambda: clock.now_s)


def test_what_was_told_stands_for_a_while_and_nothing_else_does(announced, clock):
    assert not announced.is_current(["a"])
    with announced.announcing(["a"]):
        assert not announced.is_current(["a"])

    assert announced.is_current(["a"])
    assert not announced.is_current(["a", "b"])
    clock.now_s += ANNOUNCE_AGAIN_S
    assert not announced.is_current(["a"])


@pytest.mark.parametrize("meanwhile", [False, True])
def test_over_another_connection_it_is_told_again(announced, registry, meanwhile):
    with announced.announcing(["a"]):
        registry.connections_made += meanwhile
    registry.connections_made += not meanwhile

    assert not announced.is_current(["a"])


def test_what_could_not_be_told_does_not_stand(announced):
    with contextlib.suppress(StoreUnavailable), announced.announcing(["a"]):
        raise StoreUnavailable("away")

    assert not announced.is_current(["a"])
