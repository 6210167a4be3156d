"""An ONNX graph as it is written: operations, small constants, and weights in a file beside it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, external_data_helper, helper, numpy_helper

OPSET: Final = 24
_IR_VERSION: Final = 11
_ALIGNMENT: Final = 4096
"""Of each weight in its file, so that a runtime may map it."""

Shape = Sequence[int | str]
Weight = npt.NDArray[np.float32] | npt.NDArray[np.uint8]


class WeightsFile:
    """The file beside an artifact that has its weights, one behind the other."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._name = path.name
        self._file = file
        self.size = 0

    def add(self, name: str, array: Weight) -> TensorProto:
        """Write *array*; the tensor that says where it is."""
        self._file.write(bytes(-self.size % _ALIGNMENT))
        begin = self.size + -self.size % _ALIGNMENT
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        little = array.dtype.newbyteorder("<")
        self._file.write(array.astype(little, order="C", copy=False).data)
        self.size = begin + array.nbytes
        tensor = TensorProto(name=name, data_type=kind, dims=array.shape)
        # What the helper moves out of the file must be there first.
        tensor.raw_data = b""
        external_data_helper.set_external_data(tensor, self._name, begin, array.nbytes)
        tensor.ClearField("raw_data")
        return tensor


class Graph:
    """A graph, from its inputs to its outputs. Each method returns the name of what it made."""

    def __init__(self, weights: WeightsFile) -> None:
        self._weights = weights
        self._nodes: list[Any] = []
        self._initializers: dict[str, TensorProto] = {}
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []

    def input(self, name: str, dtype: type[np.generic], shape: Shape) -> str:
        """Read *name*."""
        self._inputs.append(_value(name, dtype, shape))
        return name

    def output(self, name: str, dtype: type[np.generic], shape: Shape) -> None:
        """Give what is called *name*."""
        self._outputs.append(_value(name, dtype, shape))

    def op(self, kind: str, *inputs: str, out: str | None = None, **attributes: Any) -> str:
        """An operation with one result, called *out* if that matters."""
        return self.ops(kind, *inputs, outs=[out], **attributes)[0]

    def ops(
        self, kind: str, *inputs: str, outs: Sequence[str | None], **attributes: Any
    ) -> list[str]:
        """An operation with several results."""
        base = f"{kind}_{len(self._nodes)}"
        names = [name or f"{base}_{n}" for n, name in enumerate(outs)]
        self._nodes.append(helper.make_node(kind, list(inputs), names, name=base, **attributes))
        return names

    def constant(self, value: Any, dtype: type[np.generic] = np.int64) -> str:
        """A small array that is part of the graph."""
        array = np.asarray(value, dtype=dtype)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            name = self._constants[key] = f"constant_{len(self._constants)}"
            self._initializers[name] = numpy_helper.from_array(array, name)
        return self._constants[key]

    def weight(self, name: str, array: Weight) -> str:
        """An array that is written beside the graph."""
        self._initializers[name] = self._weights.add(name, array)
        return name

    def model(self) -> Any:
        """The whole graph as an ONNX model."""
        graph = helper.make_graph(
            self._nodes, "stage", self._inputs, self._outputs, list(self._initializers.values())
        )
        others = sorted({node.domain for node in self._nodes} - {""})
        opsets = [helper.make_opsetid("", OPSET), *(helper.make_opsetid(one, 1) for one in others)]
        return helper.make_model(
            graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="penstock"
        )


def _value(name: str, dtype: type[np.generic], shape: Shape) -> Any:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return helper.make_tensor_value_info(name, kind, list(shape))
