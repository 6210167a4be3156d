"""The client for asyncio; belongs to the event loop that it was made in."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self, TypeVar

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

_LEAVING_S: Final = 24 * 3600.0
"""How long calls on a channel may take whose certificates have changed."""


class AsyncClient:
    """The calls of `penstock.client.Client`, awaited. Connects with the first, not before."""

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
        self._channel = self._access.aio_channel(*OPTIONS)
        self._methods = methods_on(self._channel)
        self._closing: set[asyncio.Future[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the channel; calls in flight end as cancelled."""
        for closing in self._closing:
            closing.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)
        await self._channel.close()

    async def infer(  # noqa: PLR0913 - each is a field of the request
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
        """Run *model* on *inputs*; the arguments are those of `penstock.client.Client.infer`."""
        request = infer_request(
            model,
            inputs,
            version=version,
            outputs=outputs,
            request_id=request_id,
            priority=priority,
            parameters=parameters,
        )
        return await self._call(calls.infer(request, idempotency_key), deadline_s)

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
    ) -> AsyncGenerator[InferResult, None]:
        """Run *model* on *inputs*, and give each of its replies as it comes.

        A decoupled model gives any number of them; any other gives one. Who leaves the loop
        cancels the request: at once in `contextlib.aclosing`, else when the generator is dropped.
        While nothing has come the request is repeated like others; after that a failure is raised.

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

    async def live(self) -> bool:
        """Whether a gateway answers."""
        return await self._call(calls.live())

    async def ready(self) -> bool:
        """Whether the cluster takes requests."""
        return await self._call(calls.ready())

    async def model_ready(self, model: str, version: int | None = None) -> bool:
        """Whether a model, or this version of it, takes requests."""
        return await self._call(calls.model_ready(model, version))

    async def server_metadata(self) -> pb.ServerMetadataResponse:
        """The server's name, version and extensions."""
        return await self._call(calls.server_metadata())

    async def model_metadata(
        self, model: str, version: int | None = None
    ) -> pb.ModelMetadataResponse:
        """A model's versions, inputs and outputs."""
        return await self._call(calls.model_metadata(model, version))

    async def model_config(
        self, model: str, version: int | None = None
    ) -> model_config_pb2.ModelConfig:
        """A model's completed configuration."""
        return await self._call(calls.model_config(model, version))

    async def statistics(
        self, model: str = "", version: int | None = None
    ) -> Sequence[pb.ModelStatistics]:
        """What a model, or each of them, has done since its version was first served."""
        return await self._call(calls.statistics(model, version))

    async def index(
        self, *, ready: bool = False
    ) -> Sequence[pb.RepositoryIndexResponse.ModelIndex]:
        """Each model version with its state, and why it is not ready; only ready ones if so."""
        return await self._call(calls.index(ready=ready))

    async def status(self, model: str = "") -> cluster_pb2.StatusResponse:
        """Nodes, gateways, schedulers, model versions, workers and queues."""
        return await self._call(calls.status(model))

    async def _wait(self, attempts: Attempts, failure: Failure) -> None:
        """Until the next attempt; raises why there shall be none."""
        try:
            delay_s = attempts.delay_s(failure)
        except Unreachable as error:
            why = await asyncio.to_thread(self._access.obstacle)
            raise error.because(why) from None
        await asyncio.sleep(delay_s)

    def _method(self, name: str) -> Any:
        """An RPC, on a new channel once its certificates have changed."""
        if self._access.changed():
            old, self._channel = self._channel, self._access.aio_channel(*OPTIONS)
            self._methods = methods_on(self._channel)
            closing = asyncio.ensure_future(old.close(_LEAVING_S))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
        return self._methods[name]

    async def _call(self, call: Call[T], deadline_s: float | None = None) -> T:
        attempts = self._attempting.of(call.request, deadline_s)
        while True:
            timeout_s, metadata = attempts.timeout_s(), self._access.metadata(call.metadata)
            method = self._method(call.method)
            try:
                answer = await method(call.request, timeout=timeout_s, metadata=metadata)
            except grpc.RpcError as error:
                failure = Failure.of(error)
            else:
                attempts.succeeded()
                return call.read(answer)
            await self._wait(attempts, failure)

    async def _stream(
        self, request: pb.ModelInferRequest, deadline_s: float | None
    ) -> AsyncGenerator[InferResult, None]:
        attempts = self._attempting.of(request, deadline_s)
        while True:
            replies, metadata = Replies(), self._access.metadata(METADATA)
            method = self._method("ModelStreamInfer")
            call = method(iter([request]), timeout=attempts.timeout_s(), metadata=metadata)
            try:
                async for message in call:
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
            await self._wait(attempts, failure)
