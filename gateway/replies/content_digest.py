"""What a request asks, as a digest: equal for two requests exactly when their contents are.

SHA-256 over every part with its length before it, so that parts cannot run into each other. Two
contents with one digest are not to be found, by accident or on purpose (ADR 0016). Pure.
"""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Final

from penstock.protos import wire
from penstock.protos.grpc_service_pb2 import ModelInferRequest

KEY_PARAMETER: Final = "penstock_idempotency_key"
"""A request that sets it is executed once, however often it comes (idempotency.py)."""

RESUME_PARAMETER: Final = "penstock_resume"
"""The name of an answer of a language model that outlives its gateway (resuming.py)."""

FROM_PARAMETER: Final = "penstock_from"
"""How many tokens of that answer its client has already."""

WHOLE_PARAMETER: Final = "penstock_whole"
"""Whether what its client has comes once more, before the rest."""

BACKGROUND_PARAMETER: Final = "penstock_background"
"""Whether it goes on while nobody listens, and is kept for as long as replies to keys."""

CANCEL_PARAMETER: Final = "penstock_cancel"
"""Whether it ends where it is: its client wants no more of it."""

INPUT_PARAMETER: Final = "penstock_input"
"""What a gateway keeps beside the answer's request, for whoever asks what was asked."""

BEGAN_PARAMETER: Final = "penstock_began"
"""When it began, in seconds since 1970: one time for all answers of a request to the HTTP APIs."""

# How a request is to be treated, not what it asks.
_BESIDE: Final = frozenset(
    {
        *("priority", "timeout", "triton_enable_empty_final_response"),
        *(KEY_PARAMETER, RESUME_PARAMETER, FROM_PARAMETER, WHOLE_PARAMETER),
        *(BACKGROUND_PARAMETER, BEGAN_PARAMETER, CANCEL_PARAMETER, INPUT_PARAMETER),
    }
)


def content_digest(request: ModelInferRequest, raws: Sequence[wire.Buffer] | None) -> str:
    """The digest of all that the reply depends on, but for the model version that answers.

    Inputs count by name, whatever their order; outputs, and what is wanted of each, in order.
    The request's id, priority and timeout do not count.

    Args:
        request: with raw contents only (`contents.make_raw`).
        raws: its raw contents, in the order of its inputs; None when they are in it.
    """
    digest = hashlib.sha256()
    for part in _parts(request, request.raw_input_contents if raws is None else raws):
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()


def keyed_digest(content: str, version: str) -> str:
    """The digest that a key stands for: a content, and the version as its client named it."""
    return hashlib.sha256(f"{content}/{version}".encode()).hexdigest()


def _parts(request: ModelInferRequest, raws: Sequence[wire.Buffer]) -> Iterator[wire.Buffer]:
    named = {key for key in request.parameters if key not in _BESIDE}
    for count in (len(named), len(request.inputs), len(request.outputs)):
        yield count.to_bytes(8, "little")
    for key in sorted(named):
        yield key.encode()
        yield request.parameters[key].SerializeToString(deterministic=True)
    for index, tensor in sorted(enumerate(request.inputs), key=lambda pair: pair[1].name):
        yield tensor.SerializeToString(deterministic=True)
        yield raws[index]
    for output in request.outputs:
        yield output.SerializeToString(deterministic=True)
