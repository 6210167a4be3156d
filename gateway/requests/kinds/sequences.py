"""Requests to stateful models: which sequence each belongs to, and what the model is told of it.

The controls go behind the request's bytes, as inputs that clients do not send.
"""

import struct
from typing import Final

from penstock.models.sequencing import Control, SequencePlan, as_request
from penstock.protos.grpc_service_pb2 import ModelInferRequest
from penstock.scheduler.jobs.types import Turn
from penstock.scheduler.requests import refusal_texts

LONGEST_ID: Final = 128
"""Bytes of a correlation id that is a string, as in Triton."""

_INTEGERS: Final = {"UINT64": "<Q", "INT64": "<q", "UINT32": "<I", "INT32": "<i"}


def turn_of(request: ModelInferRequest, rows: int, plan: SequencePlan, caller: str = "") -> Turn:
    """The place of *request*, which has *rows* rows, in its sequence, which is *caller*'s.

    Raises:
        InvalidRequest: it is in none, or has several rows.
    """
    if rows > 1:
        raise refusal_texts.sequence_rows(request)
    sequence = _sequence_of(request)
    if sequence is None:
        raise refusal_texts.no_sequence(request)
    if len(sequence.encode()) > LONGEST_ID + 1:
        raise refusal_texts.long_sequence_id(LONGEST_ID)
    return Turn(
        sequence,
        starts="sequence_start" in request.parameters
        and request.parameters["sequence_start"].bool_param,
        ends="sequence_end" in request.parameters and request.parameters["sequence_end"].bool_param,
        terms=plan.terms,
        caller=caller,
    )


def controls_of(turn: Turn, plan: SequencePlan) -> bytes:
    """What goes behind the request of *turn*: the inputs that tell the model about it.

    Raises:
        InvalidRequest: the correlation id is not of the type that the model takes.
    """
    return as_request(
        [(one.name, one.datatype, one.shape, _value(one, turn)) for one in plan.controls]
    )


def _sequence_of(request: ModelInferRequest) -> str | None:
    """The correlation id as `Turn.sequence`; 0 and "" are none."""
    if "sequence_id" not in request.parameters:
        return None
    given = request.parameters["sequence_id"]
    if given.string_param:
        return f"s{given.string_param}"
    # Clients send ids of 64 bits without a sign in a field that has one.
    number = given.int64_param % (1 << 64)
    return f"i{number}" if number else None


def _value(control: Control, turn: Turn) -> bytes:
    if control.kind == "CORRID":
        return _correlation_id(control, turn)
    is_true = {"START": turn.starts, "END": turn.ends, "READY": True}[control.kind]
    return control.values[is_true]


def _correlation_id(control: Control, turn: Turn) -> bytes:
    if control.datatype == "BYTES":
        text = turn.id.encode()
        return struct.pack("<I", len(text)) + text
    if turn.sequence.startswith("s"):
        raise refusal_texts.sequence_id_type(turn.id, control.datatype)
    number = int(turn.id)
    if control.datatype == "INT64" and number >= 1 << 63:
        number -= 1 << 64
    try:
        return struct.pack(_INTEGERS[control.datatype], number)
    except struct.error as error:
        raise refusal_texts.sequence_id_type(turn.id, control.datatype) from error
