"""What a model with `sequence_batching` is given besides its requests' inputs, and keeps. Pure.

Controls say where in its sequence a request is: a gateway writes them behind the request. States
are what a model hands from one request of a sequence to the next: inputs that clients do not send,
and outputs that they are not sent unless config.pbtxt lists them.
"""

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from penstock.clock import bounded_ms_of_us
from penstock.datatypes import ITEM_BYTES
from penstock.errors import InvalidConfiguration
from penstock.models.config.dataflow import fits, shown
from penstock.models.config.model_config import datatype_of_config
from penstock.models.config.sequence_config import LISTS, Kind
from penstock.protos import cluster_pb2 as pb
from penstock.protos import model_config_pb2 as config_pb
from penstock.protos.grpc_service_pb2 import ModelInferRequest

DEFAULT_IDLE_US: Final = 1_000_000
"""As in Triton."""

_CONTROL_FORMATS: Final = {"INT32": "<i", "FP32": "<f", "BOOL": "<?"}
"""Datatype of a control's two values -> how `struct` packs one, of those in `LISTS`."""

Specs = Mapping[str, pb.TensorSpec]


@dataclass(frozen=True, slots=True)
class Control:
    """An input that tells a model where in its sequence a request is.

    Attributes:
        kind: "START", "READY", "END" or "CORRID".
        shape: full; one element.
        values: its raw bytes for false and for true; empty for CORRID.
    """

    name: str
    kind: str
    datatype: str
    shape: tuple[int, ...]
    values: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class SequenceTerms:
    """What a model's sequences have in common.

    Attributes:
        slots: most sequences that run at once; others wait for one of them to end.
        idle_ms: a sequence that has no request for so long is over.
        initial: the state that each begins with: a serialized ModelInferRequest with nothing but
            the tensors that its first request is given; empty for models without state.
    """

    slots: int
    idle_ms: int
    initial: bytes


@dataclass(frozen=True, slots=True)
class SequencePlan:
    """How a model's sequences are run.

    Attributes:
        states: state's output -> its input.
        inputs, outputs: the tensors of controls and states, with full shapes.
    """

    terms: SequenceTerms
    controls: tuple[Control, ...]
    states: Mapping[str, str]
    inputs: tuple[pb.TensorSpec, ...]
    outputs: tuple[pb.TensorSpec, ...]


def hidden_inputs(config: config_pb.ModelConfig) -> frozenset[str]:
    """Inputs of the model that its clients do not send."""
    batching = config.sequence_batching
    controls = [tensor.name for tensor in batching.control_input]
    return frozenset([*controls, *(state.input_name for state in batching.state)])


def hidden_outputs(config: config_pb.ModelConfig) -> frozenset[str]:
    """Outputs of the model that are no outputs for clients, unless they are listed as such."""
    return frozenset(state.output_name for state in config.sequence_batching.state)


def hidden_specs(
    config: config_pb.ModelConfig,
) -> tuple[list[pb.TensorSpec], list[pb.TensorSpec]]:
    """Inputs and outputs as config.pbtxt has them, for models from which they cannot be learnt."""
    lead = [-1] if config.max_batch_size > 0 else []
    listed = {tensor.name for tensor in config.output}
    inputs = [
        pb.TensorSpec(name=tensor.name, datatype=_datatype(tensor), shape=[*lead, 1])
        for tensor in config.sequence_batching.control_input
    ]
    outputs: list[pb.TensorSpec] = []
    for state in config.sequence_batching.state:
        datatype, shape = datatype_of_config(state.data_type), [*lead, *state.dims]
        inputs.append(pb.TensorSpec(name=state.input_name, datatype=datatype, shape=shape))
        if state.output_name not in listed:
            outputs.append(pb.TensorSpec(name=state.output_name, datatype=datatype, shape=shape))
    return inputs, outputs


def sequence_plan(
    version: pb.ModelVersion, config: config_pb.ModelConfig, inputs: Specs, outputs: Specs
) -> SequencePlan | None:
    """The plan of *version*, whose artifacts have these tensors; None for a stateless model.

    Args:
        config: with its max_batch_size completed.

    Raises:
        InvalidConfiguration: configuration and artifacts do not go together; says what to change.
    """
    if not config.HasField("sequence_batching"):
        return None
    batching = config.sequence_batching
    lead = 1 if config.max_batch_size > 0 else 0
    controls = tuple(_control(tensor, inputs) for tensor in batching.control_input)
    for state in batching.state:
        _check_state(state, "input", state.input_name, inputs, lead)
        _check_state(state, "output", state.output_name, outputs, lead)
    return SequencePlan(
        terms=SequenceTerms(
            slots=max(1, version.replicas) * slots_of_worker(config),
            idle_ms=bounded_ms_of_us(batching.max_sequence_idle_microseconds or DEFAULT_IDLE_US),
            initial=as_request([_initial(state, version, lead) for state in batching.state]),
        ),
        controls=controls,
        states={state.output_name: state.input_name for state in batching.state},
        inputs=tuple(inputs[name] for name in inputs if name in hidden_inputs(config)),
        outputs=tuple(outputs[name] for name in outputs if name in hidden_outputs(config)),
    )


def slots_of_worker(config: config_pb.ModelConfig) -> int:
    """Sequences that run at once for each worker: a batch's rows, or `max_candidate_sequences`."""
    return config.sequence_batching.oldest.max_candidate_sequences or max(1, config.max_batch_size)


Described = tuple[str, str, Sequence[int], bytes]


def as_request(tensors: Sequence[Described]) -> bytes:
    """A serialized ModelInferRequest with nothing but *tensors*: (name, datatype, shape, raw).

    Behind another request's bytes it adds them to that one's inputs.
    """
    request = ModelInferRequest()
    for name, datatype, shape, raw in tensors:
        request.inputs.add(name=name, datatype=datatype, shape=shape)
        request.raw_input_contents.append(raw)
    return request.SerializeToString()


def _datatype(tensor: config_pb.ModelSequenceBatching.ControlInput) -> str:
    control = tensor.control[0]
    if control.kind == Kind.CONTROL_SEQUENCE_CORRID:
        return datatype_of_config(control.data_type)
    return next(datatype for field, datatype in LISTS.items() if getattr(control, field))


def _control(tensor: config_pb.ModelSequenceBatching.ControlInput, inputs: Specs) -> Control:
    control, datatype = tensor.control[0], _datatype(tensor)
    where = f"config.pbtxt: control_input '{tensor.name}'"
    spec = _spec("input", tensor.name, inputs, where)
    if spec.datatype != datatype:
        raise InvalidConfiguration(
            f"{where} is {datatype}, but the artifact expects {spec.datatype}: use "
            "the values, or the data_type, that go with it"
        )
    if any(size not in (1, -1) for size in spec.shape):
        raise InvalidConfiguration(
            f"{where} is one value for each request, but the artifact expects {shown(spec)}"
        )
    given = next((getattr(control, field) for field in LISTS if getattr(control, field)), ())
    return Control(
        name=tensor.name,
        kind=Kind.Name(control.kind).removeprefix("CONTROL_SEQUENCE_"),
        datatype=datatype,
        shape=(1,) * len(spec.shape),
        values=tuple(struct.pack(_CONTROL_FORMATS[datatype], value) for value in given),
    )


def _spec(kind: str, name: str, found: Specs, where: str) -> pb.TensorSpec:
    if name not in found:
        there = ", ".join(f"'{one}'" for one in found) or "none"
        raise InvalidConfiguration(
            f"{where} is no {kind} of the artifacts, which have {there}: correct the name"
        )
    return found[name]


def _check_state(
    state: config_pb.ModelSequenceBatching.State, kind: str, name: str, found: Specs, lead: int
) -> None:
    where = f"config.pbtxt: {kind} '{name}' of a state"
    spec = _spec(kind, name, found, where)
    datatype, dims = datatype_of_config(state.data_type), list(state.dims)
    if spec.datatype != datatype or not fits(dims, list(spec.shape)[lead:]):
        raise InvalidConfiguration(
            f"{where} is {datatype}{dims}, but the artifact has {shown(spec)}"
            f"{' with the batch dimension' if lead else ''}: correct data_type or dims"
        )


def _initial(
    state: config_pb.ModelSequenceBatching.State, version: pb.ModelVersion, lead: int
) -> Described:
    datatype = datatype_of_config(state.data_type)
    initial = state.initial_state[0] if state.initial_state else None
    dims = list(initial.dims if initial else state.dims)
    elements = math.prod(dims)
    item_bytes = ITEM_BYTES[datatype]
    if initial is not None and initial.data_file:
        raw = version.initial_states[initial.data_file]
        if item_bytes is not None and len(raw) != elements * item_bytes:
            raise InvalidConfiguration(
                f"config.pbtxt: data_file '{initial.data_file}' has {len(raw)} bytes, but "
                f"{datatype}{dims} is {elements * item_bytes}"
            )
    elif item_bytes is None:
        raw = bytes(4 * elements)  # so many strings, each of length 0
    else:
        raw = bytes(item_bytes * elements)
    return state.input_name, datatype, [1] * lead + dims, raw
