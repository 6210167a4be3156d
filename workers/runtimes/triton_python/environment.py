"""What the module `triton_python_backend_utils` knows of the model that has imported it.

A worker has one model; its calls, its deadline and its files are found here.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from penstock.workers.runtimes.triton_python.errors import TritonModelException
from penstock.workers.runtimes.triton_python.responses import InferenceResponse
from penstock.workers.runtimes.triton_python.tensors import Tensor


@dataclass(frozen=True, slots=True)
class ModelCall:
    """A request of this model to another one.

    Attributes:
        version: 0 for the latest.
        outputs: those that are wanted; empty for all.
        correlation_id: of its sequence; 0 or "" for none.
        flags: Triton's, of its place in its sequence.
        timeout_us: how long it may wait in a queue; 0 for its deadline alone.
        ends_s: its deadline, on this process's monotonic clock.
    """

    model: str
    version: int
    inputs: Sequence[Tensor]
    outputs: Sequence[str]
    request_id: str
    correlation_id: int | str
    flags: int
    timeout_us: int
    parameters: Mapping[str, bool | int | float | str]
    ends_s: float


class ResponseIterator(Iterator[InferenceResponse], Protocol):
    """The responses to one call, as they come; asking for the next one waits for it."""

    def cancel(self) -> None:
        """Want no more of them."""


class Calls(Protocol):
    """How other models are called, from any thread."""

    def one(self, call: ModelCall) -> "Future[InferenceResponse]":
        """The response of a model that answers once; however the call failed is an error in it."""

    def many(self, call: ModelCall) -> ResponseIterator:
        """The responses of any model; however the call failed is the error of the last one."""

    def is_ready(self, model: str, version: str) -> bool:
        """Whether a model, or a version of it, takes requests now."""


@dataclass(slots=True)
class Environment:
    """The model of this process.

    Attributes:
        folder: the model's directory, with its versions and its configuration.
        version_folder: the version's, with its code and what lies beside that.
        calls: None where there is no queue to call other models through.
        takes_calls: `execute` is what runs, or has begun.
        default_s: seconds that a call may take where no request is under way.
    """

    folder: Path
    version_folder: Path
    model: str
    version: int
    calls: Calls | None = None
    takes_calls: bool = False
    default_s: float = 60.0
    _ends_s: dict[object, float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def opened(self, request: object, ends_s: float) -> None:
        """A request is under way until `ended`; its deadline is also that of calls for it."""
        with self._lock:
            self._ends_s[id(request)] = ends_s

    def ended(self, request: object) -> None:
        """It is over."""
        with self._lock:
            self._ends_s.pop(id(request), None)

    def latest_end_s(self, now_s: float) -> float:
        """The latest deadline of the requests under way.

        A model does not say for which of its requests it calls another; so the one with the most
        time decides, and none is kept waiting for longer than somebody waits.
        """
        with self._lock:
            return max(self._ends_s.values(), default=now_s + self.default_s)

    def caller(self) -> Calls:
        """How other models are called.

        Raises:
            TritonModelException: nobody is to be called now.
        """
        if not self.takes_calls:
            raise TritonModelException("BLS is only supported during the 'execute' function.")
        if self.calls is None:
            raise TritonModelException("other models can be called only in a running cluster")
        return self.calls


_current: list[Environment] = []


def enter(environment: Environment) -> None:
    """From now on this process's model is the one of *environment*."""
    _current[:] = [environment]


def current() -> Environment:
    """The environment of this process's model.

    Raises:
        TritonModelException: there is no model.
    """
    if not _current:
        raise TritonModelException("no model is loaded")
    return _current[0]
