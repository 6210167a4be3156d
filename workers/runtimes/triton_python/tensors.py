"""Tensors as Triton's Python models see them: a name, and an array in host memory."""

from typing import Any, Final, Self

import numpy as np

from penstock.tensors import Array
from penstock.workers.runtimes.triton_python.datatypes import (
    NUMBERS,
    WIRE_NAMES,
    numpy_to_triton_type,
)
from penstock.workers.runtimes.triton_python.errors import TritonModelException

_HOST: Final = (1, 3)
"""DLPack's numbers of the devices whose memory a processor reads: the CPU's, and CUDA's pinned."""

_CPU: Final = (1, 0)


class Tensor:
    """One tensor. Arrays that a model gets are its own: it may write into them."""

    def __init__(self, name: str, numpy_array: Array, datatype: str = "") -> None:
        """*numpy_array*: of any type but text with a fixed width; text is of objects.

        Args:
            datatype: the protocol's name of its type, where numpy's does not say it.

        Raises:
            TritonModelException: Triton has no such type.
        """
        array = np.asarray(numpy_array)
        number = NUMBERS[datatype] if datatype else numpy_to_triton_type(array.dtype)
        if number is None:
            raise TritonModelException("NumPy dtype is not supported.")
        self._name = name
        self._array = array
        self._datatype = WIRE_NAMES[number]

    @property
    def wire_datatype(self) -> str:
        """The datatype's name in the protocol."""
        return self._datatype

    @property
    def array(self) -> Array:
        """What it holds; BF16 as the upper halves of float32. Nobody may change it."""
        return self._array

    def name(self) -> str:
        """Its name."""
        return self._name

    def triton_dtype(self) -> int:
        """Triton's number of its datatype."""
        return NUMBERS[self._datatype]

    def shape(self) -> list[int]:
        """Its size along each dimension."""
        return list(self._array.shape)

    def is_cpu(self) -> bool:
        """Whether it is in host memory, where all of them are."""
        return True

    def as_numpy(self) -> Array:
        """Its array, which the model may change.

        Raises:
            TritonModelException: numpy has no BF16.
        """
        if self._datatype == "BF16":
            raise TritonModelException(
                "Tensor dtype is BF16 and cannot be converted to NumPy. Use to_dlpack() and "
                "from_dlpack() instead."
            )
        if not self._array.flags.writeable:
            self._array = self._array.copy()
        return self._array

    def to_dlpack(self) -> Any:
        """A DLPack capsule of its memory.

        Raises:
            TritonModelException: DLPack has no text.
        """
        return self.__dlpack__()

    @classmethod
    def from_dlpack(cls, name: str, tensor: Any) -> Self:
        """A tensor named *name* over the memory of *tensor*, a DLPack capsule or what gives one.

        Raises:
            TritonModelException: it is in the memory of a device, or of a type that Triton lacks.
        """
        source: Any = tensor if hasattr(tensor, "__dlpack__") else _Capsule(tensor)
        kind = int(source.__dlpack_device__()[0])
        if kind not in _HOST:
            raise TritonModelException(
                f"Tensor '{name}' is in the memory of a device (DLPack device type {kind}), and "
                "Penstock passes tensors on in host memory: move it there first, with .cpu()"
            )
        if str(getattr(source, "dtype", "")) == "torch.bfloat16":
            import torch

            halves = source.contiguous().view(torch.int16).numpy().view(np.uint16)
            return cls(name, halves, "BF16")
        try:
            return cls(name, np.from_dlpack(source))
        except (BufferError, RuntimeError, TypeError) as error:
            raise TritonModelException(f"Tensor '{name}' cannot be taken: {error}") from error

    def __dlpack__(self, *, stream: Any = None, **_: Any) -> Any:
        del stream  # host memory has none
        if self._datatype == "BYTES":
            raise TritonModelException("TYPE_BYTES tensors cannot be converted to DLPack.")
        if self._datatype == "BF16":
            import torch

            halves = self._array.copy().view(np.int16)
            return torch.from_numpy(halves).view(torch.bfloat16).__dlpack__()
        return self.as_numpy().__dlpack__()

    def __dlpack_device__(self) -> tuple[int, int]:
        return _CPU


class _Capsule:
    """A bare capsule, which numpy takes only from something that has it."""

    def __init__(self, capsule: Any) -> None:
        self._capsule = capsule

    def __dlpack__(self, **_: Any) -> Any:
        return self._capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        # What a capsule says of its device numpy reads, and takes host memory alone.
        return _CPU


def get_input_tensor_by_name(inference_request: Any, name: str) -> Tensor | None:
    """The input *name* of a request; None where it has none."""
    return _named(inference_request.inputs(), name)


def get_output_tensor_by_name(inference_response: Any, name: str) -> Tensor | None:
    """The output *name* of a response; None where it has none."""
    return _named(inference_response.output_tensors(), name)


def _named(tensors: list[Tensor], name: str) -> Tensor | None:
    return next((tensor for tensor in tensors if tensor.name() == name), None)
