"""The client for ordinary, blocking code; safe to use from several threads."""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

import grpc

from penstock.client import calls
from penstock.client.access import Access, FilePath
from penstock.client.calls import Call
from penstock.client.channel import DEFAULT_URL, OPTIONS, methods_on
from penstock.client.encoding import InferResult, Input, ParameterValue, infer_request
from penstock.client.failures import Failure, Unreachable
from penstock.client.retry import Attempting, Attempts, RetryPolicy
from penstock.client.streaming import METADATA, Replies, streamed
from penstock.protos import cluster_pb2, model_config_pb2
from penstock.protos import grpc_service_pb2 as pb

T = TypeVar("T")


class Client:
    """Calls to a cluster. Connects with the first call, not before.

    Every call raises a `PenstockError` with the server's code and text: `InvalidRequest`,
    `ModelNotFound`, `Unavailable`, `DeadlineExceeded`, `Unimplemented`, or `CallFailed`.

    Args:
        urls: "host:port" of a gateway, or a list of them, used in turn; grpcs:// for TLS.
        deadline_s: of calls that give none, repetitions included.
        retry: when calls are repeated; inference on stateless models is safe to repeat.
        ca: file with the authorities that are believed, for TLS; None with "grpcs://host:port" for
            those that gRPC knows.
        cert, key: files with the certificate, and its key, that this client proves itself with.
        token: what says who calls, or a `Path` of the file that holds it.
        server_name: that is in the gateways' certificates in place of the host in their addresses.
    """

    def __init__(  # noqa: PLR0913 - each is an option of its own
        self,
        urls: str | Sequence[str] | Access = DEFAULT_URL,
        *,
        deadline_s: float = 60.0,
        retry: RetryPolicy | None = None,
        ca: FilePath | None = None,
        cert: FilePath | None = None,
        key: FilePath | None = None,
        token: str | Path | None = None,
        server_name: str | None = None,
    ) -> None:
        self._attempting = Attempting(deadline_s, retry)
        if not isinstance(urls, Access):
            urls = Access(urls, ca=ca, cert=cert, key=key, token=token, server_name=server_name)
        self._access = urls
        self._channel = self._access.channel(*OPTIONS)
        self._methods = methods_on(self._channel)
        self._changing = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the channel; calls in flight end as cancelled."""
        self._channel.close()

    def infer(  # noqa: PLR0913 - each is a field of the request
        self,
        model: str,
        inputs: Mapping[str, Input],
        *,
        version: int | None = None,
        outputs: Sequence[str] | None = None,
        request_id: str | None = None,
        priority: int | None = None,
        parameters: Mapping[str, ParameterValue] | None = None,
        deadline_s: float | None = None,
        idempotency_key: str | None = None,
    ) -> InferResult:
        """Run *model* on *inputs*.

        Args:
            model: its name.
            inputs: by name: arrays, nested lists, text; `bf16(array)` for BF16.
            version: None for the latest.
            outputs: names of the outputs wanted, None for all.
            request_id: comes back with the reply, and stands in error texts.
            priority: 1 is the highest; None for the model's default.
            parameters: further parameters of the request.
            deadline_s: seconds that the answer is waited for, repetitions included.
            idempotency_key: with the same key, the same request is executed once for some time
                and has the same answer, whichever gateways it comes through.
        """
        request = infer_request(
            model,
            inputs,
            version=version,
            outputs=outputs,
            request_id=request_id,
            priority=priority,
            parameters=parameters,
        )
        return self._call(calls.infer(request, idempotency_key), deadline_s)

    def infer_stream(  # noqa: PLR0913 - each is a field of the request
        self,
        model: str,
        inputs: Mapping[str, Input],
        *,
        version: int | None = None,
        outputs: Sequence[str] | None = None,
        request_id: str | None = None,
        priority: int | None = None,
        parameters: Mapping[str, ParameterValue] | None = None,
        deadline_s: float | None = None,
    ) -> Iterator[InferResult]:
        """Run *model* on *inputs*, and give each of its replies as it comes.

        A decoupled model gives any number of them; any other gives one. Who leaves the loop
        cancels the request. While nothing has come it is repeated like others; after that a
        failure is raised.

        Args:
            model: its name; the other arguments are those of `infer`.
            deadline_s: seconds that all replies together may take.
        """
        request = infer_request(
            model,
            inputs,
            version=version,
            outputs=outputs,
            request_id=request_id,
            priority=priority,
            parameters=parameters,
        )
        return self._stream(streamed(request), deadline_s)

    def live(self) -> bool:
        """Whether a gateway answers."""
        return self._call(calls.live())

    def ready(self) -> bool:
        """Whether the cluster takes requests."""
        return self._call(calls.ready())

    def model_ready(self, model: str, version: int | None = None) -> bool:
        """Whether a model, or this version of it, takes requests."""
        return self._call(calls.model_ready(model, version))

    def server_metadata(self) -> pb.ServerMetadataResponse:
        """The server's name, version and extensions."""
        return self._call(calls.server_metadata())

    def model_metadata(self, model: str, version: int | None = None) -> pb.ModelMetadataResponse:
        """A model's versions, inputs and outputs."""
        return self._call(calls.model_metadata(model, version))

    def model_config(self, model: str, version: int | None = None) -> model_config_pb2.ModelConfig:
        """A model's completed configuration."""
        return self._call(calls.model_config(model, version))

    def statistics(
        self, model: str = "", version: int | None = None
    ) -> Sequence[pb.ModelStatistics]:
        """What a model, or each of them, has done since its version was first served."""
        return self._call(calls.statistics(model, version))

    def index(self, *, ready: bool = False) -> Sequence[pb.RepositoryIndexResponse.ModelIndex]:
        """Each model version with its state, and why it is not ready; only ready ones if so."""
        return self._call(calls.index(ready=ready))

    def status(self, model: str = "") -> cluster_pb2.StatusResponse:
        """Nodes, gateways, schedulers, model versions, workers and queues."""
        return self._call(calls.status(model))

    def _wait(self, attempts: Attempts, failure: Failure) -> None:
        """Until the next attempt; raises why there shall be none."""
        try:
            delay_s = attempts.delay_s(failure)
        except Unreachable as error:
            raise error.because(self._access.obstacle()) from None
        time.sleep(delay_s)

    def _method(self, name: str) -> Any:
        """An RPC, on a new channel once its certificates have changed."""
        if self._access.changed():
            with self._changing:
                # The old one is closed by whoever has its last call.
                self._channel = self._access.channel(*OPTIONS)
                self._methods = methods_on(self._channel)
        return self._methods[name]

    def _call(self, call: Call[T], deadline_s: float | None = None) -> T:
        attempts = self._attempting.of(call.request, deadline_s)
        while True:
            timeout_s, metadata = attempts.timeout_s(), self._access.metadata(call.metadata)
            method = self._method(call.method)
            try:
                answer = method(call.request, timeout=timeout_s, metadata=metadata)
            except grpc.RpcError as error:
                failure = Failure.of(error)
            else:
                attempts.succeeded()
                return call.read(answer)
            self._wait(attempts, failure)

    def _stream(
        self, request: pb.ModelInferRequest, deadline_s: float | None
    ) -> Iterator[InferResult]:
        attempts = self._attempting.of(request, deadline_s)
        while True:
            replies, metadata = Replies(), self._access.metadata(METADATA)
            method = self._method("ModelStreamInfer")
            call = method(iter([request]), timeout=attempts.timeout_s(), metadata=metadata)
            try:
                for message in call:
                    reply = replies.read(message)
                    if reply is not None:
                        yield reply
                replies.check_complete()
            except grpc.RpcError as error:
                failure = Failure.of(error)
            else:
                attempts.succeeded()
                return
            finally:
                call.cancel()
            if replies.begun:
                raise failure.error()
            self._wait(attempts, failure)
