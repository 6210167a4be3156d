"""ONNX shards, run by ONNX Runtime: its CUDA provider on a GPU, its CPU provider elsewhere."""

import contextlib
import ctypes
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import onnxruntime as ort

from penstock.errors import ArtifactUnusable
from penstock.protos import cluster_pb2
from penstock.protos.model_config_pb2 import ModelConfig
from penstock.tensors import Array
from penstock.workers.runtimes.diagnosis import explained, foreign, uncarried
from penstock.workers.runtimes.onnx_graph import unranked
from penstock.workers.runtimes.onnx_options import (
    check_providers,
    load_cuda,
    providers,
    run_options,
    session_options,
)
from penstock.workers.runtimes.onnx_work import has_fixed_work
from penstock.workers.runtimes.pinned import UNPINNED, PinnedBuffers, cuda_pinning
from penstock.workers.runtimes.runtime import DeviceRef, Dimensions, InputRejected

DATATYPES = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(bfloat16)": "BF16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}
"""ONNX Runtime's name of a tensor's type -> the wire's datatype."""

_ONNX_BFLOAT16 = 16  # onnx.TensorProto.BFLOAT16
_MOST_PADDING = 8
_PADDING_FREE_BYTES = 1 << 20
"""Bytes that are not UTF-8 may take so many times their own size, and so much in any case."""

_PREFIX = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ")
_SOURCE = re.compile(r"/onnxruntime_src/\S+:\d+ ")
_ADVICE = "Please fix either the inputs/outputs or the model."


class OnnxRuntime:
    """One ONNX Runtime session."""

    def __init__(
        self,
        session: Any,
        signature: cluster_pb2.Signature,
        run_options: Any = None,
        *,
        fixed_work: bool = False,
        buffers: PinnedBuffers | None = None,
    ) -> None:
        """*buffers*: of a session on a device, which takes its inputs from there."""
        self._session = session
        self._run_options = run_options
        self._buffers = buffers
        self.fixed_work = fixed_work
        # What a device computes is waited for: an event loop has better to do.
        self.any_thread = buffers is None
        self.signature = signature
        entries = (
            *session.get_inputs(),
            *session.get_overridable_initializers(),
            *session.get_outputs(),
        )
        self.dimensions: Mapping[str, Dimensions] = {
            entry.name: tuple("" if size is None else str(size) for size in entry.shape)
            for entry in entries
        }
        self._text = {spec.name for spec in signature.inputs if spec.datatype == "BYTES"}
        self._text_outputs = {spec.name for spec in signature.outputs if spec.datatype == "BYTES"}
        # numpy has no bfloat16, so these go in and out as ONNX Runtime's own values.
        self._half = {spec.name for spec in signature.inputs if spec.datatype == "BF16"}
        self._half_outputs = {spec.name for spec in signature.outputs if spec.datatype == "BF16"}

    @classmethod
    def open(cls, artifact: Path, device: DeviceRef, config: ModelConfig) -> Self:
        """Load the model; see `open_runtime`."""
        load_cuda(device)
        options, wanted = session_options(device, config), providers(device, config)
        try:
            session = ort.InferenceSession(str(artifact), options, providers=wanted)
        except Exception as error:
            raise ArtifactUnusable(
                f"{artifact.name} is not a model that ONNX Runtime {ort.__version__} can load: "
                f"{foreign(artifact) or explained(text_of(error))}"
            ) from error
        check_providers(session, wanted, artifact.name)
        optional = {tensor.name for tensor in config.input if tensor.optional}
        defaults = [e for e in session.get_overridable_initializers() if e.name in optional]
        signature = cluster_pb2.Signature(
            inputs=[
                *(_spec(entry, artifact) for entry in session.get_inputs()),
                *(_spec(entry, artifact, optional=True) for entry in defaults),
            ],
            outputs=[_spec(entry, artifact) for entry in session.get_outputs()],
            parameter_bytes=_bytes_on_disk(artifact),
        )
        ranks = unranked(artifact)
        for spec in (*signature.inputs, *signature.outputs):
            # ONNX Runtime may have inferred it.
            spec.any_rank = spec.name in ranks and not spec.shape
        _check_text_and_half(signature, artifact)
        return cls(
            session,
            signature,
            run_options(config),
            fixed_work=has_fixed_work(artifact),
            # The CPU needs no copies of its inputs.
            buffers=None if device.kind == "cpu" else PinnedBuffers(cuda_pinning() or UNPINNED),
        )

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """Run once; see `Runtime.run`."""
        feed: dict[str, Any] = dict(inputs)
        for name in self._text.intersection(feed):
            feed[name] = _decoded(feed[name], name)
        for name in self._half.intersection(feed):
            feed[name] = ort_value(feed[name], "BF16")
        try:
            results = self._results(feed, outputs)
        except UnicodeDecodeError as error:
            raise InputRejected(
                f"an output holds text that is not UTF-8 ({error}), which ONNX Runtime's Python "
                "interface does not hand out: leave it out, or encode it (as base64) in the request"
            ) from error
        except (ort.capi.onnxruntime_pybind11_state.InvalidArgument, ValueError) as error:
            raise InputRejected(text_of(error)) from error
        found = dict(zip(outputs, results, strict=True))
        for name in self._text_outputs.intersection(found):
            found[name] = _encoded(found[name])
        return found

    def close(self) -> None:
        """Its memory goes with the process."""

    def _results(self, feed: Mapping[str, Any], outputs: Sequence[str]) -> list[Array]:
        if self._buffers is not None and not self._text and not self._text_outputs:
            # All that fails there is a RuntimeError: run as always, it says whose fault it is.
            with contextlib.suppress(RuntimeError):
                return self._run_bound(feed, outputs, self._buffers)
        if self._half_outputs.intersection(outputs):
            return self._run_values(feed, outputs)
        results: list[Array] = self._session.run(outputs, feed, self._run_options)
        return results

    def _run_bound(
        self, feed: Mapping[str, Any], outputs: Sequence[str], buffers: PinnedBuffers
    ) -> list[Array]:
        """Inputs go to the device from page-locked memory, outputs come back in the same run."""
        binding = self._session.io_binding()
        for name, value in feed.items():
            if isinstance(value, np.ndarray):
                binding.bind_cpu_input(name, buffers.copied(name, value))
            else:
                binding.bind_ortvalue_input(name, value)
        for name in outputs:
            binding.bind_output(name, "cpu")
        self._session.run_with_iobinding(binding, self._run_options)
        return self._arrays(outputs, binding.get_outputs())

    def _arrays(self, outputs: Sequence[str], values: Sequence[Any]) -> list[Array]:
        return [
            _bits(value) if name in self._half_outputs else value.numpy()
            for name, value in zip(outputs, values, strict=True)
        ]

    def _run_values(self, feed: Mapping[str, Any], outputs: Sequence[str]) -> list[Array]:
        values = {
            name: ort_value(value, "") if isinstance(value, np.ndarray) else value
            for name, value in feed.items()
        }
        results = self._session.run_with_ort_values(outputs, values, self._run_options)
        return self._arrays(outputs, results)


def ort_value(array: Array, datatype: str) -> Any:
    """*array* as ONNX Runtime's own value, in the CPU's memory; not for BYTES."""
    if datatype == "BF16":
        array = np.ascontiguousarray(array)  # it would read past the strides
        return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(array, _ONNX_BFLOAT16)
    return ort.OrtValue.ortvalue_from_numpy(array)


def text_of(error: Exception) -> str:
    """What ONNX Runtime says, on one line, without its codes and advice."""
    text = " ".join(_PREFIX.sub("", str(error).strip()).replace(_ADVICE, "").split())
    text = _SOURCE.sub("", text)
    return text.rstrip(". ") or type(error).__name__


def _spec(entry: Any, artifact: Path, *, optional: bool = False) -> cluster_pb2.TensorSpec:
    datatype = DATATYPES.get(entry.type)
    if datatype is None:
        raise ArtifactUnusable(
            f"{artifact.name}: '{entry.name}' is a {entry.type}, and the protocol cannot carry "
            f"that, {uncarried(entry.type)}"
        )
    shape = [size if isinstance(size, int) and size >= 0 else -1 for size in entry.shape]
    return cluster_pb2.TensorSpec(
        name=entry.name, datatype=datatype, shape=shape, optional=optional
    )


def _check_text_and_half(signature: cluster_pb2.Signature, artifact: Path) -> None:
    """ONNX Runtime takes no text where it hands out its own values, as it must for BF16."""
    reads_text = any(spec.datatype == "BYTES" for spec in signature.inputs)
    half = next((spec.name for spec in signature.outputs if spec.datatype == "BF16"), None)
    if reads_text and half is not None:
        raise ArtifactUnusable(
            f"{artifact.name} reads BYTES and writes BF16 ('{half}'), which ONNX Runtime's Python "
            "interface cannot do: add a Cast to FP32 before that output"
        )


def _bytes_on_disk(artifact: Path) -> int:
    beside = artifact.with_name(artifact.name + ".data")
    return artifact.stat().st_size + (beside.stat().st_size if beside.is_file() else 0)


def _decoded(array: Array, name: str) -> Array:
    """Bytes objects as str, which ONNX Runtime takes as UTF-8; other bytes as they are."""
    try:
        texts = [item.decode() if isinstance(item, bytes) else item for item in array.reshape(-1)]
    except UnicodeDecodeError as error:
        return _fixed_width(array, name, error)
    return np.array(texts, dtype=np.object_).reshape(array.shape)


def _fixed_width(array: Array, name: str, error: UnicodeDecodeError) -> Array:
    """*array* as elements of one width, filled up with zeros: so ONNX Runtime takes any bytes.

    It takes them as far as the first zero byte. All elements take as much memory as the longest.
    """
    items = [item.encode() if isinstance(item, str) else item for item in array.reshape(-1)]
    if any(b"\0" in item for item in items):
        raise InputRejected(
            f"input '{name}' holds text that is not UTF-8 ({error}) beside zero bytes, which ONNX "
            "Runtime's Python interface takes in UTF-8 only: encode it, as base64"
        )
    longest, total = max(map(len, items)), sum(map(len, items))
    if longest * len(items) > _MOST_PADDING * total + _PADDING_FREE_BYTES:
        raise InputRejected(
            f"input '{name}' holds text that is not UTF-8 ({error}) in elements of very different "
            f"lengths, up to {longest} bytes: send the long ones in requests of their own"
        )
    return np.array(items, dtype=f"S{max(1, longest)}").reshape(array.shape)


def _encoded(array: Array) -> Array:
    texts = [item.encode() if isinstance(item, str) else item for item in array.reshape(-1)]
    return np.array(texts, dtype=np.object_).reshape(array.shape)


def _bits(value: Any) -> Array:
    """A bfloat16 value in the CPU's memory, as uint16."""
    data = ctypes.string_at(value.data_ptr(), value.tensor_size_in_bytes())
    return np.frombuffer(data, dtype="<u2").reshape(value.shape())
