"""Running one batch on a model of Triton's Python contract: requests in, responses out."""

from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter_ns

import numpy as np

from penstock.errors import Code, PenstockError
from penstock.protos import grpc_service_pb2 as pb
from penstock.scheduler.jobs.types import Timing
from penstock.tensors import Array
from penstock.workers.run import encoding
from penstock.workers.run.execution import Arrays, CodeExecution, Failure, Ran, Result, failure_of
from penstock.workers.run.tensor import Answer
from penstock.workers.run.work import Work, custom_parameters
from penstock.workers.runtimes.triton_python.environment import ModelCall
from penstock.workers.runtimes.triton_python.errors import status_of
from penstock.workers.runtimes.triton_python.requests import FLAGS, InferenceRequest
from penstock.workers.runtimes.triton_python.responses import InferenceResponse, ResponseSender
from penstock.workers.runtimes.triton_python.runtime import TritonRuntime
from penstock.workers.runtimes.triton_python.tensors import Tensor


class TritonExecution(CodeExecution[TritonRuntime]):
    """Gives the model each request by itself, and takes a response to each."""

    def _warm_up(self, inputs: Arrays) -> str:
        """Answer a request."""
        self._runtime.run(inputs, self._produces)
        return ""

    def _failure(self, error: Exception) -> Failure:
        return whole_failure(error)

    def _run_together(self, batch: Sequence[Work]) -> Ran:
        started = perf_counter_ns()
        calls = [self.call_of(work) for work in batch]
        ready = perf_counter_ns()
        responses = self._runtime.answer(calls, [partial(_is_revoked, work) for work in batch])
        computed = perf_counter_ns()
        results = [
            self.result_of(work, response) for work, response in zip(batch, responses, strict=True)
        ]
        ended = perf_counter_ns()
        return Ran(results, Timing(ready - started, computed - ready, ended - computed))

    def request_of(
        self, work: Work, sender: ResponseSender, is_cancelled: Callable[[], bool]
    ) -> InferenceRequest:
        """A request to a decoupled model, under way from now on until `ended`."""
        call = self.call_of(work)
        request = self._runtime.request(call, sender, is_cancelled)
        self._runtime.environment.opened(request, call.ends_s)
        return request

    def begin(self, request: InferenceRequest) -> object:
        """Let a decoupled model begin to answer; on the thread that loaded it.

        Returns:
            what is done when the model's code has ended, if it goes on.
        """
        return self._runtime.begin(request)

    def ended(self, request: InferenceRequest) -> None:
        """All responses to a request that was begun are there, or not wanted any more."""
        self._runtime.environment.ended(request)

    def call_of(self, work: Work) -> ModelCall:
        """The request as the model's code sees it."""
        head, given, step = work.head, work.tensors, work.ensemble_step
        datatypes = {name: given[name].datatype for name in self._consumes if name in given}
        arrays = {name: given[name].array() for name in datatypes}
        if self._reshaping is not None:
            arrays = self._reshaping.inward(arrays)
        wanted = [output.name for output in head.outputs]
        if step is not None:
            wanted = list(step.route_step.outputs)
        asked = head.parameters
        flags = sum(flag for key, flag in FLAGS.items() if key in asked and asked[key].bool_param)
        environment = self._runtime.environment
        return ModelCall(
            environment.model,
            environment.version,
            [Tensor(name, array, datatypes[name]) for name, array in arrays.items()],
            wanted,
            work.id,
            _sequence_of(head),
            flags,
            asked["timeout"].int64_param if "timeout" in asked else 0,
            custom_parameters(head),
            work.ends_s,
        )

    def result_of(self, work: Work, response: InferenceResponse) -> Result:
        """What becomes of the request: those of the response's outputs that were asked for."""
        error = response.error()
        if error is not None:
            return Failure(status_of(error), error.message())
        step = work.ensemble_step
        asked = {output.name for output in work.head.outputs}
        wanted = asked or set(self._produces) if step is None else set(step.route_step.outputs)
        tensors = [one for one in response.output_tensors() if one.name() in wanted]
        datatypes = {one.name(): one.wire_datatype for one in tensors}
        if step is not None and not wanted.issubset(datatypes):
            missing = ", ".join(sorted(wanted.difference(datatypes)))
            return Failure(Code.INTERNAL, f"the step's model gave no output {missing}")
        arrays = {one.name(): _text(one) for one in tensors}
        if self._reshaping is not None:
            arrays = self._reshaping.outward(arrays)
        return Answer(encoding.whole_results(arrays, datatypes), response.parameter_values)


def _is_revoked(work: Work) -> bool:
    return work.revoked


def _text(tensor: Tensor) -> Array:
    """A tensor's array; elements of text that are something else become text, as in Triton."""
    array = tensor.array
    if tensor.wire_datatype != "BYTES" or array.dtype.kind == "S":
        return array
    texts = [one if isinstance(one, bytes | str) else str(one) for one in array.reshape(-1)]
    return np.array(texts, dtype=np.object_).reshape(array.shape)


def _sequence_of(head: pb.ModelInferRequest) -> int | str:
    if "sequence_id" not in head.parameters:
        return 0
    value = head.parameters["sequence_id"]
    return value.string_param or value.int64_param


def whole_failure(error: BaseException) -> Failure:
    """As `failure_of`, with all lines: Triton's clients get them."""
    if isinstance(error, PenstockError):
        return Failure(error.code, str(error))
    if isinstance(error, Exception):
        return failure_of(error)
    return Failure(Code.INTERNAL, type(error).__name__)
