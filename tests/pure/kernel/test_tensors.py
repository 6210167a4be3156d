"""What is written to raw bytes is read back the same, and what cannot be right is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from penstock.datatypes import DATATYPES, ITEM_BYTES
from penstock.tensors import (
    NUMPY_TYPES,
    MalformedBytes,
    UnknownDatatype,
    bf16_from_float32,
    datatype_of,
    element_count,
    float32_from_bf16,
    from_raw,
    pack_bytes,
    to_raw,
    unpack_bytes,
)

NUMERIC = sorted(DATATYPES - {"BYTES", "BF16"})
SHAPES = st_numpy.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)


def test_each_datatype_has_arrays_of_its_size():
    sizes = {name: dtype.itemsize for name, dtype in NUMPY_TYPES.items()}

    assert sizes | {"BYTES": None} == ITEM_BYTES


@given(data=st.data(), datatype=st.sampled_from(NUMERIC))
def test_numbers_survive_the_wire(data, datatype):
    array = data.draw(st_numpy.arrays(NUMPY_TYPES[datatype], data.draw(SHAPES)))

    raw = to_raw(array)

    assert datatype_of(array) == datatype
    assert len(raw) == element_count(array.shape) * ITEM_BYTES[datatype]
    np.testing.assert_array_equal(from_raw(raw, datatype, array.shape), array)


@given(elements=st.lists(st.binary(max_size=20), max_size=20))
def test_strings_survive_the_wire(elements):
    assert unpack_bytes(pack_bytes(elements)) == elements


@given(elements=st.lists(st.binary(max_size=20), min_size=1), cut=st.integers(min_value=1))
def test_cut_strings_are_refused_or_whole(elements, cut):
    """A cut is noticed unless it falls between two elements."""
    raw = pack_bytes(elements)
    raw = raw[: -(cut % len(raw)) or None]

    try:
        assert unpack_bytes(raw) == elements[: len(unpack_bytes(raw))]
    except MalformedBytes:
        assert raw


def test_text_is_sent_as_utf8():
    array = np.array([["ä", "b"]])

    raw = to_raw(array)

    assert datatype_of(array) == "BYTES"
    assert from_raw(raw, "BYTES", array.shape).tolist() == [["ä".encode(), b"b"]]


@pytest.mark.parametrize("order", ["F", "C"])
def test_raw_bytes_are_row_major_and_little_endian(order):
    array = np.array([[1, 2], [3, 4]], dtype=">i2", order=order)

    assert to_raw(array) == b"\1\0\2\0\3\0\4\0"
    assert datatype_of(array) == "INT16"


def test_numbers_are_read_without_a_copy():
    array = from_raw(bytes(8), "FP32", [2])

    assert not array.flags.owndata
    assert not array.flags.writeable


@pytest.mark.parametrize("raw", [b"\1", b"\1\0\0\0", b"\xff\xff\xff\xff"])
def test_malformed_strings_are_refused(raw):
    with pytest.raises(MalformedBytes):
        unpack_bytes(raw)


def test_the_wrong_number_of_bytes_is_refused():
    with pytest.raises(ValueError, match="reshape"):
        from_raw(bytes(8), "FP32", [3])


def test_unknown_datatypes_are_refused_by_name():
    with pytest.raises(UnknownDatatype, match="FP8"):
        from_raw(b"", "FP8", [0])
    with pytest.raises(UnknownDatatype, match="complex"):
        datatype_of(np.zeros(1, np.complex64))


@given(st_numpy.arrays(np.uint16, st.integers(0, 50)))
def test_every_bfloat16_is_a_float32_and_back(bits):
    floats = float32_from_bf16(bits)

    back = bf16_from_float32(floats)

    numbers = ~np.isnan(floats)
    np.testing.assert_array_equal(back[numbers], bits[numbers])
    assert np.isnan(float32_from_bf16(back[~numbers])).all()


@pytest.mark.parametrize(
    ("number", "nearest"),
    [(1.0, 1.0), (1.00390625, 1.0), (1.01171875, 1.015625), (3.4e38, np.inf), (-np.inf, -np.inf)],
)
def test_bfloat16_rounds_to_the_nearest_even(number, nearest):
    rounded = float32_from_bf16(bf16_from_float32(np.array([number], np.float32)))

    assert rounded[0] == np.float32(nearest)
