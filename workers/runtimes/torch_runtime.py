"""PyTorch shards: programs written by ``torch.export.save``, on cuda or cpu.

A ``.pt2`` file holds code. A node loads only those that the model repository names.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch.utils._pytree import tree_leaves

from penstock.errors import ArtifactUnusable, first_line
from penstock.protos import cluster_pb2
from penstock.tensors import NUMPY_TYPES, Array
from penstock.workers.runtimes.diagnosis import foreign
from penstock.workers.runtimes.pt2_signature import (
    EXTRA_FILE,
    call_arguments,
    dimensions_of,
    signature_of,
)
from penstock.workers.runtimes.runtime import DeviceRef, Dimensions, InputRejected


class TorchRuntime:
    """One exported program."""

    # OpenMP has a number of threads for each thread that calls it.
    any_thread = False
    fixed_work = False

    def __init__(
        self, program: Any, device: torch.device, signature: cluster_pb2.Signature
    ) -> None:
        self._program = program
        self._module = program.module()
        self._device = device
        self.signature = signature
        specs = (*signature.inputs, *signature.outputs)
        self.dimensions: Mapping[str, Dimensions] = dict(
            zip((spec.name for spec in specs), dimensions_of(program), strict=True)
        )
        self._datatypes = {spec.name: spec.datatype for spec in specs}
        self._order = [spec.name for spec in signature.inputs]
        self._outputs = [spec.name for spec in signature.outputs]

    @classmethod
    def open(cls, artifact: Path, device: DeviceRef) -> Self:
        """Load the program; see `open_runtime`."""
        torch.set_num_threads(device.threads)
        target = _device(device, artifact)
        # Torch logs its own trace of an error that it raises as well.
        logging.getLogger("torch.export").setLevel(logging.ERROR)
        extra = {EXTRA_FILE: ""}
        try:
            program = torch.export.load(str(artifact), extra_files=extra)
            if target.type != "cpu":
                program = torch.export.passes.move_to_device_pass(program, str(target))
        except Exception as error:
            raise ArtifactUnusable(
                f"{artifact.name} is not a program that torch {torch.__version__} can load: "
                f"{foreign(artifact) or _explained(error)}"
            ) from error
        try:
            inputs, outputs = signature_of(program, extra[EXTRA_FILE] or None)
        except ArtifactUnusable as error:
            raise ArtifactUnusable(f"{artifact.name}: {error}") from None
        signature = cluster_pb2.Signature(
            inputs=[_spec(*tensor) for tensor in inputs],
            outputs=[_spec(*tensor) for tensor in outputs],
            parameter_bytes=_weight_bytes(program),
        )
        return cls(program, target, signature)

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """Run once; see `Runtime.run`."""
        tensors = [self._to_tensor(inputs, name) for name in self._order]
        args, kwargs = call_arguments(self._program, tensors)
        try:
            with torch.inference_mode():
                leaves = tree_leaves(self._module(*args, **kwargs))
        except (AssertionError, ValueError, IndexError) as error:
            # The guards that torch.export puts before a program (sizes that it was not traced
            # for), and indexes past the end of a table.
            raise InputRejected(first_line(error)) from error
        results = (leaf for leaf in leaves if leaf is not None)
        named = dict(zip(self._outputs, results, strict=True))
        return {name: self._to_array(named[name], name) for name in outputs}

    def close(self) -> None:
        """Its memory goes with the process."""

    def _to_tensor(self, inputs: Mapping[str, Array], name: str) -> torch.Tensor:
        array = inputs.get(name)
        if array is None:
            raise InputRejected(f"input '{name}' is missing")
        if self._datatypes[name] == "BF16":  # numpy cannot hold it: its bits travel as int16
            bits = torch.from_numpy(_writable(array.view(np.int16)))
            return self._there(bits).view(torch.bfloat16)
        return self._there(torch.from_numpy(_writable(array)))

    def _there(self, tensor: torch.Tensor) -> torch.Tensor:
        """*tensor* on the device; on its way to a GPU it lies in page-locked memory."""
        if self._device.type == "cuda":
            return tensor.pin_memory().to(self._device, non_blocking=True)
        return tensor.to(self._device)

    def _to_array(self, tensor: torch.Tensor, name: str) -> Array:
        tensor = tensor.detach().to("cpu").contiguous()
        if self._datatypes[name] == "BF16":
            return np.asarray(tensor.view(torch.int16).numpy()).view(np.uint16)
        found: Array = tensor.numpy()
        return found.astype(NUMPY_TYPES[self._datatypes[name]], copy=False)


def _device(device: DeviceRef, artifact: Path) -> torch.device:
    if device.kind == "cuda" and not torch.cuda.is_available():
        raise ArtifactUnusable(
            f"{artifact.name}: torch {torch.__version__} sees no GPU; install a CUDA build of "
            "torch, or set instance_group kind: KIND_CPU"
        )
    return torch.device(device.kind if device.kind == "cpu" else f"{device.kind}:{device.index}")


def _spec(name: str, datatype: str, shape: Sequence[int]) -> cluster_pb2.TensorSpec:
    return cluster_pb2.TensorSpec(name=name, datatype=datatype, shape=shape)


def _explained(error: Exception) -> str:
    return (
        f"{first_line(error)}; copy it again, or write it anew with torch.export.save of that "
        "version"
    )


def _weight_bytes(program: Any) -> int:
    held = (*program.state_dict.values(), *program.constants.values())
    tensors = (tensor for tensor in held if isinstance(tensor, torch.Tensor))
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _writable(array: Array) -> Array:
    """Torch warns of read-only memory; a request's bytes are read-only, a batch's are not."""
    return array if array.flags.writeable else array.copy()
