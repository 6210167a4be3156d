"""Requests as Triton's Python models see them: those that they answer, and those they make."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Self

from penstock.workers.runtimes.triton_python.environment import (
    ModelCall,
    ResponseIterator,
    current,
)
from penstock.workers.runtimes.triton_python.errors import TritonModelException
from penstock.workers.runtimes.triton_python.memory import PreferredMemory
from penstock.workers.runtimes.triton_python.responses import InferenceResponse, ResponseSender
from penstock.workers.runtimes.triton_python.tensors import Tensor

TRITONSERVER_REQUEST_FLAG_SEQUENCE_START: Final = 1
TRITONSERVER_REQUEST_FLAG_SEQUENCE_END: Final = 2
TRITONSERVER_REQUEST_RELEASE_ALL: Final = 1
TRITONSERVER_REQUEST_RELEASE_RESCHEDULE: Final = 2

FLAGS: Final = {
    "sequence_start": TRITONSERVER_REQUEST_FLAG_SEQUENCE_START,
    "sequence_end": TRITONSERVER_REQUEST_FLAG_SEQUENCE_END,
}
"""A parameter of a request -> the flag that it is for a model."""

Parameters = Mapping[str, bool | int | float | str]


def never() -> bool:
    """Whether a request is cancelled for which nobody can tell."""
    return False


class InferenceRequest:
    """One request."""

    def __init__(  # noqa: PLR0913, PLR0917 - Triton's arguments, in its order
        self,
        request_id: str = "",
        correlation_id: int | str = 0,
        inputs: Sequence[Tensor] | None = None,
        requested_output_names: Sequence[str] | None = None,
        model_name: str | None = None,
        model_version: int = -1,
        flags: int = 0,
        timeout: int = 0,
        preferred_memory: PreferredMemory | None = None,
        trace: "InferenceTrace | None" = None,
        parameters: Parameters | None = None,
    ) -> None:
        """A request to another model.

        Args:
            model_version: -1 for the latest.
            timeout: microseconds that it may wait in a queue; 0 for its deadline alone.
            preferred_memory: host memory is the only one that there is.

        Raises:
            TypeError: the inputs, the outputs or the model are missing.
        """
        if inputs is None or requested_output_names is None or model_name is None:
            raise TypeError(
                "InferenceRequest: inputs, requested_output_names and model_name are required"
            )
        self._inputs = list(inputs)
        self._outputs = list(requested_output_names)
        self._model, self._version = model_name, model_version
        self._id, self._correlation_id = request_id, correlation_id
        self._flags, self._timeout_us = flags, timeout
        self._parameters = dict(parameters or {})
        self._trace = trace or InferenceTrace()
        self._is_cancelled: Callable[[], bool] = never
        self._sender: ResponseSender | None = None
        if preferred_memory is not None:
            preferred_memory.check()

    @classmethod
    def received(
        cls, call: ModelCall, sender: ResponseSender, is_cancelled: Callable[[], bool]
    ) -> Self:
        """A request of a client, or of another model, to this one."""
        request = cls(
            call.request_id,
            call.correlation_id,
            call.inputs,
            call.outputs,
            call.model,
            call.version,
            call.flags,
            call.timeout_us,
            parameters=call.parameters,
        )
        request._sender, request._is_cancelled = sender, is_cancelled
        return request

    def inputs(self) -> list[Tensor]:
        """Its inputs."""
        return self._inputs

    def requested_output_names(self) -> list[str]:
        """Names of the outputs that are wanted."""
        return self._outputs

    def request_id(self) -> str:
        """The id that its client gave it."""
        return self._id

    def correlation_id(self) -> int | str:
        """Its sequence; 0 for none."""
        return self._correlation_id

    def model_name(self) -> str:
        """The model that it is for."""
        return self._model

    def model_version(self) -> int:
        """The version that it is for."""
        return self._version

    def flags(self) -> int:
        """Its place in its sequence: `TRITONSERVER_REQUEST_FLAG_...`."""
        return self._flags

    def set_flags(self, flags: int) -> None:
        """Give it another place."""
        self._flags = flags

    def timeout(self) -> int:
        """Microseconds that its client lets it wait in a queue; 0 for its deadline alone."""
        return self._timeout_us

    def parameters(self) -> str:
        """Its own parameters, as JSON."""
        return json.dumps(self._parameters, separators=(",", ":"))

    def trace(self) -> "InferenceTrace":
        """Its trace, of which Penstock tells nothing."""
        return self._trace

    def is_cancelled(self) -> bool:
        """Whether nobody waits for it any more."""
        return self._is_cancelled()

    def get_response_sender(self) -> ResponseSender:
        """What sends its responses by themselves.

        Raises:
            TritonModelException: it is a request that this model makes.
        """
        if self._sender is None:
            raise TritonModelException("a request to another model has no response sender")
        return self._sender

    def set_release_flags(self, flags: int) -> None:
        """Say what becomes of the request once `execute` has returned: it is over.

        Raises:
            TritonModelException: it is to be scheduled again.
        """
        if flags & TRITONSERVER_REQUEST_RELEASE_RESCHEDULE:
            raise TritonModelException(
                "requests are not scheduled again: that takes "
                "sequence_batching.iterative_sequence, which Penstock does not have"
            )

    def exec(self, decoupled: bool = False) -> "InferenceResponse | ResponseIterator":  # noqa: FBT001, FBT002
        """Ask the other model, and wait for its response.

        Args:
            decoupled: it may have any number of responses, which are given one after another.

        Returns:
            a response, which has an error where the other model failed; or an iterator.

        Raises:
            TritonModelException: it is not `execute` that runs.
        """
        calls, call = current().caller(), self._call()
        return calls.many(call) if decoupled else calls.one(call).result()

    def async_exec(
        self,
        decoupled: bool = False,  # noqa: FBT001, FBT002 - as Triton has it
    ) -> "Awaitable[InferenceResponse | ResponseIterator]":
        """As `exec`, to be awaited in the event loop that runs.

        Raises:
            RuntimeError: none does.
            TritonModelException: as `exec`.
        """
        loop = asyncio.get_running_loop()
        calls, call = current().caller(), self._call()
        if decoupled:
            ready: asyncio.Future[ResponseIterator] = loop.create_future()
            ready.set_result(calls.many(call))
            return ready
        return asyncio.wrap_future(calls.one(call), loop=loop)

    def _call(self) -> ModelCall:
        return ModelCall(
            model=self._model,
            version=max(0, self._version),
            inputs=self._inputs,
            outputs=self._outputs,
            request_id=self._id,
            correlation_id=self._correlation_id,
            flags=self._flags,
            timeout_us=self._timeout_us,
            parameters=self._parameters,
            ends_s=current().latest_end_s(time.monotonic()),
        )


class InferenceTrace:
    """A request's trace. It can be handed on to calls, and says nothing."""

    def get_context(self) -> Any:
        """The OpenTelemetry context; there is none."""
        return None
