"""What is known of an ONNX model's tensors: the datatype and the sizes of each.

A size is a number, or the symbol of an input's dimension. Any other size gets a symbol of its
own, ``tensor:axis``, which no other tensor tells.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import onnx

from penstock.sharding.free_sizes import FreeSizes
from penstock.sharding.samples import InputSpec, sample
from penstock.tensors import Array
from penstock.workers.runtimes.onnx_runtime import DATATYPES

Dims = tuple[int | str, ...]


@dataclass(slots=True)
class Sizes:
    """What is known of a model's tensors.

    Attributes:
        batch: the symbol of the batch dimension, None without one.
        inputs: the model's inputs, with the samples given for them.
        sample: the size that each symbol has in a sample; the batch has 2.
        datatypes, dims: by tensor.
        observed: the sizes seen in a run, for those that no symbol tells.
    """

    batch: str | None
    inputs: dict[str, InputSpec]
    sample: dict[str, int]
    datatypes: dict[str, str] = field(default_factory=dict)
    dims: dict[str, Dims] = field(default_factory=dict)
    observed: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def at_sample(self, name: str, dim: int | str) -> int:
        """The number that a size of tensor *name* has in the sample."""
        if isinstance(dim, int):
            return dim
        if dim in self.sample:
            return self.sample[dim]
        return self.observed[name][self.dims[name].index(dim)]

    def request(self, values: Mapping[str, int]) -> dict[str, Array]:
        """Sample inputs in which the symbols have these sizes."""
        return {
            name: sample(
                spec, tuple(dim if isinstance(dim, int) else values[dim] for dim in self.dims[name])
            )
            for name, spec in self.inputs.items()
        }

    def request_of(self, batch: int) -> dict[str, Array]:
        """Sample inputs of a batch of that size."""
        return self.request({**self.sample, **({self.batch: batch} if self.batch else {})})

    def place_of(self, symbol: str) -> str:
        """Where a symbol is among the inputs, for people."""
        found = ((name, self.dims[name]) for name in self.inputs if symbol in self.dims[name])
        name, dims = next(found)
        return f"dimension {dims.index(symbol)} of input '{name}'"

    def free(self) -> FreeSizes:
        """All symbols but the batch."""
        sample = {name: size for name, size in self.sample.items() if name != self.batch}
        places = {name: self.place_of(name) for name in sample}
        return FreeSizes(sample, places, lambda values: self.request({**self.sample, **values}))


def datatype_name(element: str) -> str | None:
    """ONNX's name of an element type -> the wire's; None where a tensor of it cannot travel."""
    return DATATYPES.get(f"tensor({element.lower()})")


def element_type(datatype: str) -> int:
    """The number that ONNX has for a wire datatype."""
    (name,) = (name for name, wire in DATATYPES.items() if wire == datatype)
    return int(onnx.TensorProto.DataType.Value(name.removeprefix("tensor(").rstrip(")").upper()))
