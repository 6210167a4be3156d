"""Responses of Triton's Python models: outputs, or an error; and what sends them by themselves."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from penstock.workers.runtimes.triton_python.errors import TritonError, TritonModelException
from penstock.workers.runtimes.triton_python.tensors import Tensor

TRITONSERVER_RESPONSE_COMPLETE_FINAL: Final = 1
"""A flag of `send`: nothing comes after this."""

_FINAL: Final = TRITONSERVER_RESPONSE_COMPLETE_FINAL
_KINDS: Final = (bool, int, float, str)


class InferenceResponse:
    """One response to one request."""

    def __init__(
        self,
        output_tensors: Sequence[Tensor] = (),
        error: TritonError | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        """*parameters*: text, numbers and truth values that go with the outputs.

        Raises:
            TypeError: an argument is something else.
            TritonModelException: a parameter is.
        """
        tensors = list(output_tensors)
        for tensor in tensors:
            if not isinstance(tensor, Tensor):
                raise TypeError(
                    f"InferenceResponse: output_tensors holds a {type(tensor).__name__}, and must "
                    "hold Tensors"
                )
        if error is not None and not isinstance(error, TritonError):
            raise TypeError(
                f"InferenceResponse: error is a {type(error).__name__}, and must be a TritonError"
            )
        self._tensors = tensors
        self._error = error
        self._parameters = _checked(parameters)

    def output_tensors(self) -> list[Tensor]:
        """The outputs; empty where there is an error."""
        return self._tensors

    def has_error(self) -> bool:
        """Whether the request failed."""
        return self._error is not None

    def error(self) -> TritonError | None:
        """Why it failed, if it did."""
        return self._error

    def parameters(self) -> str:
        """The parameters, as JSON."""
        return json.dumps(self._parameters, separators=(",", ":")) if self._parameters else ""

    @property
    def parameter_values(self) -> Mapping[str, bool | int | float | str]:
        """The parameters by name."""
        return self._parameters


def _checked(parameters: Mapping[str, Any] | None) -> dict[str, bool | int | float | str]:
    found: dict[str, bool | int | float | str] = {}
    for key, value in (parameters or {}).items():
        if not isinstance(key, str):
            raise TritonModelException(
                f"Expect parameters keys to have type str, found type '{type(key)}'"
            )
        if not isinstance(value, _KINDS):
            raise TritonModelException(
                f"Expect parameters values to have type bool/int/str, found type '{type(value)}'"
            )
        found[key] = value
    return found


class ResponseSender:
    """Sends the responses to one request, from any thread, until the final one."""

    def __init__(
        self,
        send: Callable[[InferenceResponse | None, bool], None],
        is_cancelled: Callable[[], bool],
        *,
        decoupled: bool,
    ) -> None:
        """*send*: takes each response, and whether it is the final one."""
        self._send = send
        self._is_cancelled = is_cancelled
        self._decoupled = decoupled
        self._sent = 0
        self.closed = False

    def send(self, response: InferenceResponse | None = None, flags: int = 0) -> None:
        """Send *response*, if any, and say by *flags* whether it is the last.

        Raises:
            TritonModelException: the last one was sent, or nothing would be.
        """
        if flags not in (0, _FINAL):
            raise TritonModelException("Unable to send response. Unsupported flag provided.")
        if self.closed:
            raise TritonModelException("Unable to send response. Response sender has been closed.")
        if response is None and flags == 0:
            raise TritonModelException(
                "Inference Response object must be provided when the response flags is set to zero."
            )
        if not self._decoupled:
            self._check_single(response, flags)
        self._sent += response is not None
        self.closed = flags == _FINAL
        self._send(response, self.closed)

    def _check_single(self, response: InferenceResponse | None, flags: int) -> None:
        if response is not None and self._sent:
            raise TritonModelException(
                "Unable to send response. Non-decoupled model cannot send more than one response."
            )
        if flags == _FINAL and response is None and not self._sent:
            raise TritonModelException(
                "Unable to send response. Non-decoupled model cannot send complete final before "
                "sending a response."
            )

    def is_cancelled(self) -> bool:
        """Whether nobody waits for the request any more."""
        return self._is_cancelled()
