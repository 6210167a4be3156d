"""Triton's Python models as runtimes: requests in, responses out, nothing joined or split."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Self

from penstock.errors import Code, DeadlineExceeded
from penstock.protos import cluster_pb2
from penstock.protos import model_config_pb2 as config_pb
from penstock.tensors import Array
from penstock.workers.runtimes.python.signature import signature_of
from penstock.workers.runtimes.runtime import DeviceRef, Dimensions
from penstock.workers.runtimes.triton_python.environment import ModelCall
from penstock.workers.runtimes.triton_python.errors import status_of
from penstock.workers.runtimes.triton_python.model import TritonModel
from penstock.workers.runtimes.triton_python.model_config import as_json
from penstock.workers.runtimes.triton_python.requests import InferenceRequest, never
from penstock.workers.runtimes.triton_python.responses import InferenceResponse, ResponseSender
from penstock.workers.runtimes.triton_python.tensors import Tensor

_KINDS = {"cpu": "CPU", "cuda": "GPU"}
_WARM_UP_S = 600.0


class TritonRuntime:
    """One instance of a Triton model.

    Attributes:
        environment: what the model finds around it.
    """

    any_thread = False
    fixed_work = False
    dimensions: Mapping[str, Dimensions] = MappingProxyType({})

    def __init__(
        self, model: TritonModel, signature: cluster_pb2.Signature, config: config_pb.ModelConfig
    ) -> None:
        self._model = model
        self.environment = model.environment
        self.signature = signature
        self._outputs = [output.name for output in config.output]

    @classmethod
    def open(cls, artifact: Path, device: DeviceRef, version: cluster_pb2.ModelVersion) -> Self:
        """Import the code, complete its configuration, and initialize it; see `open_runtime`."""
        owners = config_pb.ModelConfig.FromString(version.config)
        owners.name = version.model
        model = TritonModel.imported(artifact, version.model, version.version)
        config = model.completed(owners)
        size = sum(file.stat().st_size for file in artifact.parent.rglob("*") if file.is_file())
        signature = signature_of(config, size, "config.pbtxt")
        if config != owners:
            signature.config = config.SerializeToString(deterministic=True)
        arguments = {
            "model_config": as_json(with_defaults(config, artifact, device)),
            "model_instance_kind": _KINDS[device.kind],
            "model_instance_name": _instance_name(owners, device.replica),
            "model_instance_device_id": str(device.index),
            "model_repository": str(artifact.parent.parent),
            "model_version": str(version.version),
            "model_name": version.model,
        }
        model.initialize(arguments)
        return cls(model, signature, config)

    def request(
        self, call: ModelCall, sender: ResponseSender, is_cancelled: Callable[[], bool] = never
    ) -> InferenceRequest:
        """A request as the model sees it; all outputs are asked for where none is."""
        wanted = list(call.outputs) or self._outputs
        return InferenceRequest.received(replace(call, outputs=wanted), sender, is_cancelled)

    def answer(
        self, calls: Sequence[ModelCall], are_cancelled: Sequence[Callable[[], bool]] = ()
    ) -> list[InferenceResponse]:
        """Answer requests together; each gets one response.

        Args:
            are_cancelled: for each, whether nobody waits for it any more.

        Raises:
            TritonModelFailed: the model failed for all of them.
        """
        cancelled = are_cancelled or [never] * len(calls)
        slots = [_Slot(call.ends_s, one) for call, one in zip(calls, cancelled, strict=True)]
        requests = [
            self.request(call, slot.sender, slot.is_over)
            for call, slot in zip(calls, slots, strict=True)
        ]
        for request, call in zip(requests, calls, strict=True):
            self.environment.opened(request, call.ends_s)
        try:
            returned = self._model.execute(requests)
            return [
                slot.wait() if response is None else response
                for slot, response in zip(slots, returned, strict=True)
            ]
        finally:
            for request in requests:
                self.environment.ended(request)

    def begin(self, request: InferenceRequest) -> object:
        """Let a decoupled model begin to answer; see `TritonModel.begin`."""
        return self._model.begin(request)

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """Run once; see `Runtime.run`. For warming up: requests go through `answer`."""
        tensors = [Tensor(name, array) for name, array in inputs.items()]
        ends_s = time.monotonic() + _WARM_UP_S
        call = ModelCall("", 0, tensors, list(outputs), "", 0, 0, 0, {}, ends_s)
        (response,) = self.answer([call])
        error = response.error()
        if error is not None:
            raise (
                DeadlineExceeded(error.message())
                if status_of(error) is Code.CANCELLED
                else (RuntimeError(error.message()))
            )
        return {tensor.name(): tensor.array for tensor in response.output_tensors()}

    def close(self) -> None:
        """Let the model end in order."""
        self._model.finalize()


def _instance_name(config: config_pb.ModelConfig, instance: int) -> str:
    """As Triton makes it from the name of the group, which is the model's where there is none."""
    group = f"{config.name}_0" if config.instance_group else config.name
    return f"{group}_{instance}"


class _Slot:
    """The one response to a request of a model that answers once, sent by itself."""

    def __init__(self, ends_s: float, is_cancelled: Callable[[], bool]) -> None:
        self._ends_s = ends_s
        self._is_cancelled = is_cancelled
        self._there = threading.Event()
        self._response: InferenceResponse | None = None
        self.sender = ResponseSender(self._take, self.is_over, decoupled=False)

    def is_over(self) -> bool:
        """Whether it was cancelled, or its deadline has passed."""
        return self._is_cancelled() or time.monotonic() > self._ends_s

    def wait(self) -> InferenceResponse:
        """The response, once it has been sent and is said to be the last.

        Raises:
            DeadlineExceeded: it was not in time.
        """
        self._there.wait(max(0.0, self._ends_s - time.monotonic()))
        if self._response is None:
            raise DeadlineExceeded("the model has not sent a response before the deadline")
        return self._response

    def _take(self, response: InferenceResponse | None, final: bool) -> None:  # noqa: FBT001
        self._response = response or self._response
        if final:
            self._there.set()


def with_defaults(
    config: config_pb.ModelConfig, artifact: Path, device: DeviceRef
) -> config_pb.ModelConfig:
    """*config* as Triton hands it to a model: with what it leaves open filled in."""
    made = config_pb.ModelConfig()
    made.CopyFrom(config)
    if not made.HasField("version_policy"):
        made.version_policy.latest.num_versions = 1
    made.default_model_filename = made.default_model_filename or artifact.name
    if not made.HasField("optimization"):
        made.optimization.priority = config_pb.ModelOptimizationPolicy.PRIORITY_DEFAULT
        made.optimization.input_pinned_memory.enable = True
        made.optimization.output_pinned_memory.enable = True
    if not made.instance_group:
        kind = f"KIND_{_KINDS[device.kind]}"
        made.instance_group.add(kind=config_pb.ModelInstanceGroup.Kind.Value(kind))
    for index, group in enumerate(made.instance_group):
        group.name = group.name or f"{config.name}_{index}"
        group.count = group.count or 1
    return made
