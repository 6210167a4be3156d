"""Whether a request can be right: Triton's checks, in Triton's order, with Triton's words.

`Rules` is a model version's half of the comparison, made once (models/request_rules.py); `admit` is
the request's, and runs for each. A request that is fine costs some look-ups: text is made only for
refusals, in refusal_texts.py. Order: parameters, repeated names, where each input's data is,
requested outputs, number of inputs, batch size, and then for each input its datatype, shape and
bytes.

Pure: neither the model's readiness nor the state of the cluster matters here.
"""

import math
import struct
from collections.abc import Sequence
from typing import NamedTuple

from penstock.datatypes import ITEM_BYTES
from penstock.models.config.policies import QueuePolicy
from penstock.protos.bounds import MOST_STRINGS
from penstock.protos.contents import FIELDS, filled_fields
from penstock.protos.grpc_service_pb2 import InferParameter, ModelInferRequest
from penstock.scheduler.decisions.urgency import level_of, queue_timeout_us
from penstock.scheduler.jobs.types import ROUTE, TRACE
from penstock.scheduler.requests import refusal_texts
from penstock.scheduler.requests.request_rules import Rules

Tensor = ModelInferRequest.InferInputTensor
Raw = Sequence[bytes | memoryview]

PATH_PARAMETER = "penstock_path"
"""A request that sets it to true is told which workers served it."""

_EMPTY_FINAL = "triton_enable_empty_final_response"
_CUSTOM_NAMED = ("int64_param", "bool_param", "string_param")
_CUSTOM_TYPES = (*_CUSTOM_NAMED, "double_param")  # taken, though Triton's refusal omits it
_CLASSLESS = frozenset({"BOOL", "BYTES"})
_LENGTH = struct.Struct("<I")


class Admitted(NamedTuple):
    """What the gateway needs to know of a request that is fine.

    Attributes:
        rows: items along the batch dimension; 1 for models without one.
        priority: the level to queue it at; 0 for models without levels.
        timeout_us: microseconds that it may wait in the queue; 0 for its deadline alone.
        wants_path: the reply shall say which workers served it.
        typed: it carries typed contents, to be made raw (`contents.make_raw`).
        outputs: names of the outputs asked for; None for all.
        classes: output -> how many top classes are wanted in its place; None for no output.
    """

    rows: int
    priority: int
    timeout_us: int
    wants_path: bool
    typed: bool
    outputs: tuple[str, ...] | None
    classes: dict[str, int] | None


def admit(request: ModelInferRequest, rules: Rules, raw: Raw | None = None) -> Admitted:
    """Check *request* against *rules*.

    Args:
        request: as the client sent it.
        rules: of the version that the request is for.
        raw: the raw input contents, when they were kept out of *request* to save a copy.

    Raises:
        InvalidRequest: the request cannot be right.
        Unimplemented: it asks for a part of the protocol that Penstock does not offer.
    """
    if raw is None:
        raw = request.raw_input_contents
    priority, timeout_us, wants_path = rules.default_level, rules.timeout_us, False
    if request.parameters:
        priority, timeout_us, wants_path = _read_parameters(request, rules)
    _find_data(request, raw)
    outputs, classes = _read_outputs(request, rules) if request.outputs else (None, None)
    _check_count(request, rules)
    rows = _count_rows(request, rules)
    for index, tensor in enumerate(request.inputs):
        rule = rules.inputs.get(tensor.name)
        if rule is None:
            raise refusal_texts.unexpected(request, "input", tensor.name)
        if tensor.datatype != rule.datatype:
            raise refusal_texts.datatype(request, tensor, rule.datatype)
        if (
            rule.row_bytes is None
            or not raw
            or len(raw[index]) != rows * rule.row_bytes
            or tensor.shape[rules.lead :] != rule.dims
        ):
            _check_closely(request, rules, tensor, raw[index] if raw else None)
    return Admitted(rows, priority, timeout_us, wants_path, not raw, outputs, classes)


def _read_parameters(request: ModelInferRequest, rules: Rules) -> tuple[int, int, bool]:
    """Priority level, queue timeout and whether the path is wanted.

    Triton ignores the sequence of a request to a stateless model; `sequences` reads it for others.
    """
    priority, asked_us, wants_path = rules.default_level, 0, False
    for key in request.parameters:
        value = request.parameters[key]
        if key in (_EMPTY_FINAL, "sequence_start", "sequence_end"):
            expect(key, value, "bool_param")
        elif key == "sequence_id":
            expect(key, value, "int64_param", "string_param")
        elif key == PATH_PARAMETER:
            expect(key, value, "bool_param")
            wants_path = value.bool_param
        elif key == "priority":
            level = number(key, value, "int64_param", "uint64_param")
            priority = level_of(level, rules.levels, rules.default_level)
        elif key == "timeout":
            asked_us = number(key, value, "int64_param")
        elif key in (TRACE, ROUTE):
            raise refusal_texts.own_key(key)
        elif key.startswith("triton_"):
            raise refusal_texts.reserved_key(_EMPTY_FINAL)
        elif value.WhichOneof("parameter_choice") not in _CUSTOM_TYPES:
            raise refusal_texts.parameter_type(key, *_CUSTOM_NAMED)
    policy: QueuePolicy | Rules = rules.by_level.get(priority, rules)
    timeout_us = queue_timeout_us(asked_us, policy.timeout_us, may_shorten=policy.may_shorten)
    return priority, timeout_us, wants_path


def expect(key: str, value: InferParameter, *kinds: str) -> None:
    """Refuse *value* where it is of none of these *kinds*."""
    if value.WhichOneof("parameter_choice") not in kinds:
        raise refusal_texts.parameter_type(key, *kinds)


def number(key: str, value: InferParameter, *kinds: str) -> int:
    """What *value*, of one of these *kinds*, says: nothing below zero."""
    expect(key, value, *kinds)
    found: int = value.int64_param or value.uint64_param
    if found < 0:
        raise refusal_texts.parameter_value(key)
    return found


def _find_data(request: ModelInferRequest, raw: Raw) -> None:
    """Each input has a name of its own, and its data either raw or typed, never both."""
    tensors = request.inputs
    count = len(tensors)
    if count > 1 and len({tensor.name for tensor in tensors}) < count:
        raise refusal_texts.repeated(request, "input", [tensor.name for tensor in tensors])
    for index, tensor in enumerate(tensors):
        if tensor.parameters and "shared_memory_region" in tensor.parameters:
            raise refusal_texts.shared_memory()
        if tensor.HasField("contents"):
            if raw:
                raise refusal_texts.mixed(request, tensor.name)
            _check_kind(request, tensor)
        elif index >= len(raw):
            raise refusal_texts.no_data(request, tensor.name)
    if len(raw) > count:
        raise refusal_texts.surplus_data(request, len(raw))


def _check_kind(request: ModelInferRequest, tensor: Tensor) -> None:
    for position, field in enumerate(filled_fields(tensor.contents)):
        if position > 0:
            raise refusal_texts.contents_twice(request, tensor)
        if tensor.datatype not in FIELDS[field]:
            raise refusal_texts.contents_kind(request, tensor, field)


def _read_outputs(
    request: ModelInferRequest, rules: Rules
) -> tuple[tuple[str, ...], dict[str, int] | None]:
    """Names of the outputs asked for, and how many classes of which are wanted."""
    names = tuple(output.name for output in request.outputs)
    if len(set(names)) < len(names):
        raise refusal_texts.repeated(request, "output", names)
    classes: dict[str, int] = {}
    for output in request.outputs:
        if "shared_memory_region" in output.parameters:
            raise refusal_texts.shared_memory()
        if "classification" in output.parameters:
            classes[output.name] = _class_count(output.parameters["classification"])
    for name in names:
        if name not in rules.outputs:
            raise refusal_texts.unexpected(request, "output", name)
    for name in classes:
        if rules.outputs[name] in _CLASSLESS:
            raise refusal_texts.classless(rules.outputs[name])
    return names, classes or None


def _class_count(value: InferParameter) -> int:
    if value.WhichOneof("parameter_choice") != "int64_param":
        raise refusal_texts.class_count_type()
    count: int = value.int64_param
    if count < 1:
        raise refusal_texts.class_count()
    return count


def _check_count(request: ModelInferRequest, rules: Rules) -> None:
    count = len(request.inputs)
    if count == len(rules.inputs):
        return
    given = {tensor.name for tensor in request.inputs}
    if count > len(rules.inputs) or not given.issuperset(rules.required):
        raise refusal_texts.input_count(request, rules.required, len(rules.inputs))


def _count_rows(request: ModelInferRequest, rules: Rules) -> int:
    """The batch size, which all inputs must share; 1 for models without a batch dimension."""
    if not rules.lead:
        return 1
    rows: int | None = None
    for tensor in request.inputs:
        if tensor.name not in rules.inputs:
            raise refusal_texts.unexpected(request, "input", tensor.name)
        if not tensor.shape:
            raise refusal_texts.no_batch_dimension(request, tensor.name)
        if rows is None:
            rows = tensor.shape[0]
            if rows < 0:
                raise refusal_texts.open_dimension(request, tensor)
        elif tensor.shape[0] != rows:
            raise refusal_texts.batch_mismatch(request, tensor.name)
    if rows is None:  # every input is optional, and none was sent
        return 1
    if not 0 < rows <= rules.max_batch_size:
        relation = f"<= {rules.max_batch_size}" if rows else ">= 1"
        raise refusal_texts.batch_size(request, relation)
    return rows


def _check_closely(
    request: ModelInferRequest, rules: Rules, tensor: Tensor, raw: bytes | memoryview | None
) -> None:
    """Shape and size of an input that the quick comparison did not settle."""
    rule = rules.inputs[tensor.name]
    if len(tensor.shape) != len(rule.shape):
        raise refusal_texts.shape(request, tensor, rule.shape, batching=rules.lead > 0)
    for wanted, given in zip(rule.shape, tensor.shape, strict=True):
        if given < 0:
            raise refusal_texts.open_dimension(request, tensor)
        if wanted not in (-1, given):
            raise refusal_texts.shape(request, tensor, rule.shape, batching=rules.lead > 0)
    elements = math.prod(tensor.shape)
    if raw is None:
        _check_typed(request, tensor, elements)
    elif rule.item_bytes is None:
        _check_strings(request, tensor.name, raw, elements)
    elif len(raw) != elements * rule.item_bytes:
        raise refusal_texts.byte_size(request, tensor.name, elements * rule.item_bytes, len(raw))


def _check_typed(request: ModelInferRequest, tensor: Tensor, elements: int) -> None:
    filled = filled_fields(tensor.contents)
    got = len(getattr(tensor.contents, filled[0])) if filled else 0
    if got == elements:
        return
    item_bytes = ITEM_BYTES[tensor.datatype]
    if item_bytes is not None:
        raise refusal_texts.byte_size(request, tensor.name, elements * item_bytes, got * item_bytes)
    if got > elements:
        raise refusal_texts.too_many_strings(request, tensor.name, elements)
    raise refusal_texts.too_few_strings(request, tensor.name, elements, got)


def _check_strings(
    request: ModelInferRequest, name: str, raw: bytes | memoryview, elements: int
) -> None:
    """Walk a raw BYTES tensor from length to length, without touching its elements."""
    if elements > MOST_STRINGS:
        raise refusal_texts.many_strings(request, name, MOST_STRINGS, elements)
    at, end, got = 0, len(raw), 0
    last, length_at = end - _LENGTH.size, _LENGTH.unpack_from
    while at < end:
        if got == elements:
            raise refusal_texts.too_many_strings(request, name, elements)
        if at > last:
            raise refusal_texts.cut_length(request, name, end - at)
        after = at + _LENGTH.size + length_at(raw, at)[0]
        if after > end:
            begin = at + _LENGTH.size
            raise refusal_texts.cut_string(request, name, after - begin, end - begin)
        at = after
        got += 1
    if got < elements:
        raise refusal_texts.too_few_strings(request, name, elements, got)
