"""The sizes of all tensors of an ONNX model: inferred, and observed in a run where they are not."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import onnx

from penstock.sharding.errors import CannotShard
from penstock.sharding.onnx.observation import observe
from penstock.sharding.onnx.sizes import Dims, Sizes, datatype_name
from penstock.sharding.samples import InputSpec

_UNKNOWN = frozenset({"?", "-1", "None", "unk", "unknown"})
_FIRST_SAMPLE_SIZE = 16  # for a size that follows the request; the next symbol gets one more


def read_sizes(
    proto: Any, folder: Path, inputs: tuple[str, ...], given: dict[str, InputSpec]
) -> Sizes:
    """Name the dynamic dimensions of *proto*'s inputs, and find all sizes that follow from them.

    Changes *proto*: every dynamic dimension of an input has a name, the batch the same in all.
    """
    _forget_unknown(proto)
    infos = {info.name: info for info in proto.graph.input if info.name in inputs}
    batch = _name_dimensions(proto, [infos[name] for name in inputs])
    for name in inputs:
        _fix_given(proto, infos[name], given.get(name), batch)
    sizes = Sizes(batch, {}, {} if batch is None else {batch: 2})
    for name in inputs:
        _add_input(sizes, infos[name], given.get(name))
    unknown = _infer(proto, sizes)
    if unknown:
        observe(proto, folder, sizes, unknown)
    return sizes


def _forget_unknown(proto: Any) -> None:
    """Leave open what some exporters write for sizes that they do not know: -1, or one "?"."""
    for dim in _all_dims(proto):
        if dim.dim_value < 0 or dim.dim_param in _UNKNOWN:
            dim.ClearField("dim_value")
            dim.ClearField("dim_param")


def _all_dims(proto: Any) -> Iterator[Any]:
    """The dimensions of all tensors of which *proto* says some."""
    for info in (*proto.graph.input, *proto.graph.output, *proto.graph.value_info):
        yield from info.type.tensor_type.shape.dim


def _fix_given(proto: Any, info: Any, given: InputSpec | None, batch: str | None) -> None:
    """Fix the sizes of an input that the command line fixes, wherever they are in the model.

    The stages are proved for these alone, and so must not promise others.
    """
    dims = info.type.tensor_type.shape.dim
    if given is None or given.array is not None or len(given.shape) != len(dims):
        return
    fixed = {
        str(dim.dim_param): size
        for dim, size in zip(dims, given.shape, strict=True)
        if size is not None and dim.dim_param not in ("", batch)
    }
    for dim in _all_dims(proto):
        if dim.dim_param in fixed:
            dim.dim_value = fixed[dim.dim_param]


def _name_dimensions(proto: Any, infos: list[Any]) -> str | None:
    """Give each dynamic dimension of the inputs a name; returns that of the batch."""
    for info in infos:
        for axis, dim in enumerate(info.type.tensor_type.shape.dim):
            if not dim.HasField("dim_value") and not dim.dim_param:
                dim.dim_param = f"{info.name}_{axis}"
    shapes = [info.type.tensor_type.shape.dim for info in infos]
    leading = [str(dims[0].dim_param) if dims else "" for dims in shapes]
    if not leading or not all(leading):
        return None
    for dim in _all_dims(proto):
        if dim.dim_param in leading:
            dim.dim_param = leading[0]
    return leading[0]


def _add_input(sizes: Sizes, info: Any, given: InputSpec | None) -> None:
    datatype = _datatype(info)
    if datatype is None:
        raise CannotShard(
            f"input '{info.name}' is not a tensor of a datatype that can travel; export the model "
            "with plain tensors as inputs"
        )
    dims = tuple(
        int(dim.dim_value) if dim.HasField("dim_value") else str(dim.dim_param)
        for dim in info.type.tensor_type.shape.dim
    )
    if given is not None and not (given.datatype == datatype and _fits(given.shape, dims)):
        raise CannotShard(
            f"--input {info.name}: the model expects {_shown(datatype, dims)}, "
            f"not {_shown(given.datatype, given.shape)}"
        )
    for axis, dim in enumerate(dims):
        if isinstance(dim, str) and dim != sizes.batch:
            size = None if given is None else given.shape[axis]
            sizes.sample.setdefault(dim, size or _FIRST_SAMPLE_SIZE + len(sizes.sample))
    array = None if given is None else given.array
    shape = tuple(None if isinstance(dim, str) else dim for dim in dims)
    sizes.inputs[info.name] = InputSpec(info.name, datatype, shape, array)
    sizes.datatypes[info.name], sizes.dims[info.name] = datatype, dims


def _fits(shape: Sequence[int | None], dims: Dims) -> bool:
    return len(shape) == len(dims) and all(
        size is None or isinstance(dim, str) or size == dim
        for size, dim in zip(shape, dims, strict=True)
    )


def _shown(datatype: str, dims: Sequence[int | str | None]) -> str:
    return f"{datatype}[{','.join('-1' if dim is None else str(dim) for dim in dims)}]"


def _infer(proto: Any, sizes: Sizes) -> list[str]:
    """Take over what shape inference tells; returns the tensors that it leaves open."""
    try:
        inferred = onnx.shape_inference.infer_shapes(proto, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        text = " ".join(str(error).split())
        raise CannotShard(f"the model contradicts itself; export it anew: {text}") from None
    unfit = set()
    for info in (*inferred.graph.value_info, *inferred.graph.output):
        datatype, dims = _datatype(info), _known_dims(info, sizes)
        if datatype is None and _is_typed(info):
            unfit.add(info.name)
        if datatype is not None and dims is not None:
            sizes.datatypes[info.name], sizes.dims[info.name] = datatype, dims
    written = dict.fromkeys(name for node in proto.graph.node for name in node.output if name)
    return [name for name in written if name not in sizes.dims and name not in unfit]


def _known_dims(info: Any, sizes: Sizes) -> Dims | None:
    if not info.type.tensor_type.HasField("shape"):
        return None
    dims: list[int | str] = []
    for dim in info.type.tensor_type.shape.dim:
        if not dim.HasField("dim_value") and dim.dim_param not in sizes.sample:
            return None
        dims.append(int(dim.dim_value) if dim.HasField("dim_value") else str(dim.dim_param))
    return tuple(dims)


def _is_typed(info: Any) -> bool:
    return info.type.WhichOneof("value") not in (None, "tensor_type") or bool(
        info.type.tensor_type.elem_type
    )


def _datatype(info: Any) -> str | None:
    if not info.type.HasField("tensor_type"):
        return None
    return datatype_name(onnx.TensorProto.DataType.Name(info.type.tensor_type.elem_type))
