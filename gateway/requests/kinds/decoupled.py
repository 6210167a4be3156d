"""Decoupled models: any number of responses to a request, which only a stream can carry."""

from typing import NamedTuple


class Part(NamedTuple):
    """One response: a serialized ModelInferResponse. The final one has no outputs."""

    body: bytes
    final: bool
