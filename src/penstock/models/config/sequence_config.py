"""`sequence_batching` in config.pbtxt: whether what it says can be. Pure.

What the tensors that it names must be like is found out from the artifacts, in `sequencing`.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Final

from penstock.models.config.dataflow import fits
from penstock.protos import model_config_pb2 as pb

Batching = pb.ModelSequenceBatching
State = pb.ModelSequenceBatching.State
Kind = pb.ModelSequenceBatching.Control.Kind

LISTS: Final = {
    "int32_false_true": "INT32",
    "fp32_false_true": "FP32",
    "bool_false_true": "BOOL",
}
"""Where a control's two values can be -> the datatype of its tensor."""

CORRELATION_TYPES: Final = ("TYPE_UINT64", "TYPE_INT64", "TYPE_UINT32", "TYPE_INT32", "TYPE_STRING")


def sequence_problems(config: pb.ModelConfig) -> Iterator[str]:
    """What cannot be in the `sequence_batching` of *config*."""
    if not config.HasField("sequence_batching"):
        return
    batching = config.sequence_batching
    yield from _control_problems(batching)
    for state in batching.state:
        yield from (f"state '{state.input_name}': {one}" for one in _state_problems(state))
    yield from _name_problems(config)
    yield from _strategy_problems(batching)
    if config.model_transaction_policy.decoupled:
        yield "a decoupled model cannot have sequences: let it answer each request once"
    if config.backend == "python" and not batching.state:
        yield (
            "a Python model needs state { ... } for what it remembers: what its code keeps to "
            "itself would be lost with its worker, and is not on other workers"
        )


def _name_problems(config: pb.ModelConfig) -> Iterator[str]:
    batching = config.sequence_batching
    inputs = Counter(
        [one.name for one in config.input]
        + [one.name for one in batching.control_input]
        + [one.input_name for one in batching.state]
    )
    outputs = Counter(one.output_name for one in batching.state)
    for kind, names in (("input", inputs), ("output of a state", outputs)):
        for name, count in names.items():
            if count > 1:
                yield f"'{name}' is listed twice as {kind}: name each tensor once"


def _control_problems(batching: Batching) -> Iterator[str]:
    kinds: Counter[str] = Counter()
    for tensor in batching.control_input:
        if not tensor.name:
            yield "each control_input must have a name"
        if len(tensor.control) != 1:
            yield f"control_input '{tensor.name}' must have one control, not {len(tensor.control)}"
            continue
        control = tensor.control[0]
        kinds[Kind.Name(control.kind)] += 1
        yield from (f"control_input '{tensor.name}': {one}" for one in _values_problems(control))
    for kind, count in kinds.items():
        if count > 1:
            yield f"{kind} is given to {count} tensors: it can be given to one"


def _values_problems(control: pb.ModelSequenceBatching.Control) -> Iterator[str]:
    given = [name for name in LISTS if getattr(control, name)]
    datatype = pb.DataType.Name(control.data_type)
    if control.kind == Kind.CONTROL_SEQUENCE_CORRID:
        if given:
            yield f"CONTROL_SEQUENCE_CORRID has no {given[0]}"
        if datatype not in CORRELATION_TYPES:
            yield (
                "CONTROL_SEQUENCE_CORRID must have a data_type of "
                f"{', '.join(CORRELATION_TYPES)}, got {datatype}"
            )
        return
    if control.data_type:
        yield f"data_type is for CONTROL_SEQUENCE_CORRID: {', '.join(LISTS)} say it of others"
    if len(given) != 1:
        yield f"it must have one of {', '.join(LISTS)}"
    elif len(getattr(control, given[0])) != 2:
        yield f"{given[0]} must be two values, [ false, true ]"


def _state_problems(state: State) -> Iterator[str]:
    if not state.input_name or not state.output_name:
        yield "input_name and output_name must be given"
    if not state.data_type:
        yield "data_type must be given"
    if any(dim < 1 and dim != -1 for dim in state.dims):
        yield f"each of dims must be 1 or more, or -1 for any size, got {list(state.dims)}"
    if len(state.initial_state) > 1:
        yield "it can have one initial_state"
    for initial in state.initial_state[:1]:
        yield from _initial_problems(state, initial)
    if not state.initial_state and -1 in state.dims:
        yield f"dims {list(state.dims)} leave its first size open: add initial_state with dims"


def _initial_problems(
    state: State, initial: pb.ModelSequenceBatching.InitialState
) -> Iterator[str]:
    if not initial.zero_data and not initial.data_file:
        yield "initial_state must have zero_data: true, or data_file"
    if "/" in initial.data_file or initial.data_file.startswith("."):
        yield f"data_file must be the name of a file in initial_state/, got '{initial.data_file}'"
    if initial.data_type not in (0, state.data_type):
        yield "initial_state has another data_type"
    if any(dim < 0 for dim in initial.dims) or not fits(initial.dims, state.dims):
        yield (
            f"initial_state has dims {list(initial.dims)}, which must be sizes that fit "
            f"{list(state.dims)}"
        )


def _strategy_problems(batching: Batching) -> Iterator[str]:
    utilization = batching.direct.minimum_slot_utilization
    if not 0 <= utilization <= 1:
        yield f"direct.minimum_slot_utilization must be between 0 and 1, got {utilization:g}"
    if batching.oldest.max_candidate_sequences < 0:
        yield "oldest.max_candidate_sequences must be 0 or more"
    for size in batching.oldest.preferred_batch_size:
        if size < 1:
            yield f"oldest.preferred_batch_size must be 1 or more, got {size}"
