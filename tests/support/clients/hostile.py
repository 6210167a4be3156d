"""Messages whose bytes cost far more than they look, and large ones that are meant."""

import tracemalloc
from contextlib import contextmanager

from penstock.protos import wire
from penstock.protos.grpc_service_pb2 import ModelInferRequest

MIB = 1 << 20


def field(number, content):
    """A field that holds *content*."""
    return wire.bytes_field(number, len(content)) + content


def empties(number, size=8 * MIB):
    """As many empty entries of a list as there is room for."""
    return field(number, b"") * (size // 2)


def typed(number, content):
    """A request with typed contents: *content* in the field *number* of them."""
    return field(5, field(1, b"x") + field(5, field(number, content)))


def many_strings(count):
    """A raw BYTES tensor of *count* empty strings."""
    return bytes(4 * count)


def small(model="m", **kinds):
    """A request without data."""
    request = ModelInferRequest(model_name=model)
    for name, (datatype, shape) in kinds.items():
        request.inputs.add(name=name, datatype=datatype, shape=shape)
    return request


@contextmanager
def most_memory():
    """Gives a function that tells the most bytes that Python's objects had at a time."""
    tracemalloc.start()
    peak = 0
    try:
        yield lambda: peak
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()


OF_INFERENCE = {
    "raw contents": (empties(7), "may have 8192 fields"),
    "inputs": (empties(5), "may have 8192 fields"),
    "outputs": (empties(6), "may have 8192 fields"),
    "parameters": (empties(4), "may have 8192 fields"),
    "unknown fields": (b"\xf8\x06\x00" * (8 * MIB // 3), "may have 8192 fields"),
    "unknown fields of two bytes": (b"\x78\x00" * (4 * MIB), "may have 8192 fields"),
    "dimensions": (field(5, field(3, bytes(8 * MIB))), "may have 65536 parts"),
    "dimensions one by one": (field(5, b"\x18\x00" * (4 * MIB)), "may have 65536 parts"),
    "parameters of an input": (field(5, empties(4)), "may have 65536 parts"),
    "parameters of an output": (field(6, empties(2)), "may have 65536 parts"),
    "unknown fields of an input": (field(5, empties(9)), "may have 65536 parts"),
    "contents of an input": (field(5, empties(5)), "may have 65536 parts"),
    "typed strings": (field(5, field(5, empties(8))), "may have 2097152 elements of typed BYTES"),
    "typed numbers": (typed(3, bytes(8 * MIB + 1)), "may have 8388608 whole numbers"),
    "typed numbers one by one": (field(5, field(5, b"\x18\x00" * (4 * MIB))), "65536 parts"),
    "an id": (field(3, b"i" * (8 * MIB)), "id may have 1024 bytes"),
    "a model's name": (field(1, b"m" * (8 * MIB)), "names, shapes and parameters"),
    "a parameter's value": (
        field(4, field(1, b"p") + field(2, field(3, b"v" * (8 * MIB)))),
        "names, shapes and parameters of a request may have 1048576 bytes",
    ),
}
"""What there is too much of -> a ModelInferRequest of about 8 MiB, and words of its refusal."""
