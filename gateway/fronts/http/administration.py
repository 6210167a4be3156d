"""Routes of what is managed over HTTP beside models: traces, logs, shared memory."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from penstock.errors import InvalidRequest
from penstock.gateway.fronts.grpc.calls import Calls
from penstock.gateway.fronts.grpc.inference_service import InferenceService
from penstock.gateway.fronts.http.exchange import Exchange, Parts, Reply
from penstock.gateway.fronts.http.infer_json import values_of
from penstock.gateway.fronts.http.json_messages import as_json, dumped, parsed_object
from penstock.protos import grpc_service_pb2 as pb


class Administration:
    """Answers requests by an inference service."""

    def __init__(self, service: InferenceService, calls: Calls) -> None:
        self._service = service
        self._calls = calls

    async def trace_settings(self, exchange: Exchange, parts: Parts) -> Reply:
        """Which requests the gateways trace; changed by POST."""
        request = pb.TraceSettingRequest(model_name=parts["model"])
        for name, value in (await self._changes(exchange)).items():
            request.settings[name].value.extend(_texts(name, value))
        response = await self._service.answer("TraceSetting", request, exchange.call)
        shown = {
            name: list(setting.value) if name == "trace_level" else "".join(setting.value)
            for name, setting in response.settings.items()
        }
        return Reply([dumped(shown)])

    async def log_settings(self, exchange: Exchange, _: Parts) -> Reply:
        """What the gateways write to their logs; changed by POST."""
        request = pb.LogSettingsRequest()
        for name, value in (await self._changes(exchange)).items():
            _set(request.settings[name], name, value)
        response = await self._service.answer("LogSettings", request, exchange.call)
        return Reply([dumped(values_of(response.settings))])

    async def system_status(self, exchange: Exchange, parts: Parts) -> Reply:
        """One region, or all."""
        request = pb.SystemSharedMemoryStatusRequest(name=parts["region"])
        return await self._regions(exchange, "SystemSharedMemoryStatus", request)

    async def system_register(self, exchange: Exchange, parts: Parts) -> Reply:
        """Name a part of a segment."""
        body = await self._body(exchange)
        for field in ("key", "byte_size"):
            if field not in body:
                raise InvalidRequest(f"Shared memory register request has no '{field}' field")
        request = pb.SystemSharedMemoryRegisterRequest(
            name=parts["region"],
            key=_text(body, "key"),
            offset=_natural(body, "offset"),
            byte_size=_natural(body, "byte_size"),
        )
        return await self._done(exchange, "SystemSharedMemoryRegister", request)

    async def system_unregister(self, exchange: Exchange, parts: Parts) -> Reply:
        """Forget one region, or all."""
        request = pb.SystemSharedMemoryUnregisterRequest(name=parts["region"])
        return await self._done(exchange, "SystemSharedMemoryUnregister", request)

    async def cuda_status(self, exchange: Exchange, parts: Parts) -> Reply:
        """There are none."""
        request = pb.CudaSharedMemoryStatusRequest(name=parts["region"])
        return await self._regions(exchange, "CudaSharedMemoryStatus", request)

    async def cuda_register(self, exchange: Exchange, parts: Parts) -> Reply:
        """Refuse: there can be none."""
        body = await self._body(exchange)
        request = pb.CudaSharedMemoryRegisterRequest(
            name=parts["region"],
            raw_handle=_handle(body),
            device_id=_natural(body, "device_id"),
            byte_size=_natural(body, "byte_size"),
        )
        return await self._done(exchange, "CudaSharedMemoryRegister", request)

    async def cuda_unregister(self, exchange: Exchange, parts: Parts) -> Reply:
        """Nothing to forget."""
        request = pb.CudaSharedMemoryUnregisterRequest(name=parts["region"])
        return await self._done(exchange, "CudaSharedMemoryUnregister", request)

    async def _regions(self, exchange: Exchange, name: str, request: Any) -> Reply:
        response = await self._service.answer(name, request, exchange.call)
        return Reply([dumped([as_json(region) for region in response.regions.values()])])

    async def _done(self, exchange: Exchange, name: str, request: Any) -> Reply:
        await self._service.answer(name, request, exchange.call)
        return Reply()

    async def _changes(self, exchange: Exchange) -> dict[str, Any]:
        return await self._body(exchange) if exchange.method == "POST" else {}

    async def _body(self, exchange: Exchange) -> dict[str, Any]:
        return parsed_object(await self._calls.read(exchange))


def _texts(name: str, value: Any) -> list[str]:
    """The values of a trace setting; null clears it."""
    values = [] if value is None else value if isinstance(value, list) else [value]
    if not all(isinstance(one, str) for one in values):
        raise InvalidRequest(f"the trace setting '{name}' must be a string, or strings, or null")
    return values


def _set(setting: pb.LogSettingsRequest.SettingValue, name: str, value: Any) -> None:
    """Take *value* over; null leaves the setting as it is."""
    if isinstance(value, bool):
        setting.bool_param = value
    elif isinstance(value, int) and 0 <= value < 1 << 32:
        setting.uint32_param = value
    elif isinstance(value, str):
        setting.string_param = value
    elif value is not None:
        raise InvalidRequest(f"the log setting '{name}' must be a boolean, a number, or a string")


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body[name]
    if not isinstance(value, str):
        raise InvalidRequest(f"Unable to parse '{name}': it must be a string")
    return value


def _natural(body: Mapping[str, Any], name: str) -> int:
    value = body.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 63:
        raise InvalidRequest(f"Unable to parse '{name}': it must be a number, and not negative")
    return value


def _handle(body: Mapping[str, Any]) -> bytes:
    handle = body.get("raw_handle")
    encoded = handle.get("b64") if isinstance(handle, dict) else None
    try:
        return base64.b64decode(encoded or "", validate=True)
    except (binascii.Error, ValueError, TypeError) as error:
        raise InvalidRequest(
            "'raw_handle' must be a valid base64 encoded cudaIpcMemHandle_t"
        ) from error
