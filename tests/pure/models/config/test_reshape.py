"""Dims of any size stay the same ones, and what lies between them keeps its elements."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.records import config

from penstock.models.config.reshape import fitted, problem


def tensor(dims, shape):
    return config(f"input {{ dims: {dims} reshape {{ shape: {shape} }} }}").input[0]


@pytest.mark.parametrize(
    ("dims", "shape"),
    [
        ([1], []),
        ([4, 4], [16]),
        ([-1], [-1]),
        ([2, 3, -1, 4], [6, -1, 2, 2]),
        ([-1, 4, -1], [-1, 2, 2, -1]),
    ],
)
def test_as_many_elements_are_fine(dims, shape):
    assert problem(tensor(dims, shape)) is None


@pytest.mark.parametrize(
    ("dims", "shape"),
    [([2], []), ([4, 4], [15]), ([-1], [1]), ([2, -1], [-1, 2]), ([-1], [-1, -1])],
)
def test_more_or_fewer_are_not(dims, shape):
    assert "does not have as many elements as dims" in problem(tensor(dims, shape))


@pytest.mark.parametrize("shape", [[0], [-2], [4, 0]])
def test_a_size_that_cannot_be_is_refused(shape):
    assert problem(tensor([4], shape)).startswith("each of reshape.shape must be 1 or more")


def test_without_a_reshape_nothing_is_wrong():
    assert problem(config("input { dims: 4 }").input[0]) is None


SIZES = st.lists(st.integers(1, 4), max_size=3)


@given(st.lists(st.tuples(SIZES, st.integers(0, 5)), max_size=3), SIZES)
def test_a_fitted_shape_holds_the_elements_that_came(parts, rest):
    """Each part: some sizes that become one, and then an open dimension of a size."""
    dims, shape, sizes = [], [], []
    for some, size in parts:
        dims += [*some, -1]
        shape += [math.prod(some), -1]
        sizes += [*some, size]
    dims, shape, sizes = dims + rest, [*shape, math.prod(rest)], sizes + rest

    found = fitted(sizes, dims, shape)

    assert problem(tensor(dims, shape)) is None
    assert math.prod(found) == math.prod(sizes)
    assert fitted(found, shape, dims) == sizes
