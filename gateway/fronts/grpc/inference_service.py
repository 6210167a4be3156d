"""inference.GRPCInferenceService: each RPC of the Open Inference Protocol and of Triton.

ModelInfer takes and gives bytes as they are on the wire, so that nothing is parsed or built twice.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final

from google.protobuf.message import Message

import penstock
from penstock.errors import InvalidRequest, Unimplemented
from penstock.gateway.access.caller import Caller
from penstock.gateway.access.needs import INFERENCE
from penstock.gateway.delivery.router import JobRouter
from penstock.gateway.fronts.grpc.calls import Answer, Calls, Ending
from penstock.gateway.fronts.grpc.guarded import SMALL_BYTES
from penstock.gateway.fronts.grpc.rpc import Method, Rpc
from penstock.gateway.fronts.grpc.shared_memory import SharedMemory
from penstock.gateway.models.catalog import Catalog, ModelUnloaded, parse_version
from penstock.gateway.models.control import Control
from penstock.gateway.operations.auditing import Auditing, object_of
from penstock.gateway.operations.live_settings import LiveSettings
from penstock.gateway.operations.statistics import model_statistics
from penstock.gateway.requests.call import Call
from penstock.gateway.requests.infer import Inference
from penstock.gateway.requests.streams import Streams
from penstock.models.completion import Deployment
from penstock.protos import bounds
from penstock.protos import grpc_service_pb2 as pb
from penstock.protos.wire import Buffer
from penstock.scheduler.registry.snapshot import VersionId

SERVICE: Final = "inference.GRPCInferenceService"

EXTENSIONS: Final = (
    "binary_tensor_data",
    "classification",
    "logging",
    "model_configuration",
    "model_repository",
    "model_repository(unload_dependents)",
    "parameters",
    "schedule_policy",
    "sequence",
    "statistics",
    "trace",
)
"""Triton's extensions of the protocol that are implemented."""

_ALWAYS: Final = frozenset({"ServerLive", "ServerReady", "ModelReady"})
"""They say how this gateway is, and are answered when nothing else is."""


@dataclass(frozen=True, slots=True)
class Administration:
    """What clients manage beside inference."""

    control: Control
    settings: LiveSettings
    shared_memory: SharedMemory
    auditing: Auditing


@dataclass(frozen=True, slots=True)
class InferenceService:
    """Answers the RPCs from the catalog and through the queue."""

    _catalog: Catalog
    _inference: Inference
    _streams: Streams
    _administration: Administration
    _router: JobRouter
    _server_name: str
    _calls: Calls

    def methods(self) -> dict[str, Method]:
        """The service's methods, by path."""
        service = pb.DESCRIPTOR.services_by_name[SERVICE.rpartition(".")[2]]
        return {f"/{SERVICE}/{method.name}": self._method(method) for method in service.methods}

    def _method(self, method: Any) -> Method:
        if method.name == "ModelInfer":
            return Method(self._calls.answering(self._inference.infer), often=True)
        if method.name == "ModelStreamInfer":
            return Method(self._model_stream_infer, streams=True)
        answer, always = self._answer(method), method.name in _ALWAYS
        return Method(self._calls.answering(answer, always=always))

    def _answer(self, method: Any) -> Answer:
        kind: type[Message] = getattr(pb, method.input_type.name)
        # Files of an override are as large as they are: `read_terms` has a word for that.
        most_bytes = None if method.name == "RepositoryModelLoad" else SMALL_BYTES

        async def respond(message: Buffer, call: Call) -> bytes:
            request = bounds.parse(kind, bytes(message), most_bytes)
            response = await self.answer(method.name, request, call)
            return bytes(response.SerializeToString())

        return respond

    async def answer(self, name: str, request: Any, call: Call) -> Any:
        """The response of the RPC *name*, which has one message each way.

        Raises:
            PenstockError: how it failed.
        """
        need, caller = INFERENCE[name], call.caller
        model = getattr(request, need.field) if need.field else ""
        if model:
            caller.check_model(model)
        if "SharedMemory" in name:
            self._administration.shared_memory.check(local=call.is_local)
            answering: Awaitable[Any] = self._shared(name, request, caller)
        else:
            answering = _METHODS[name](self, request)
        changed = object_of(name, request)
        if changed is not None:
            act = name, changed
            auditing = self._administration.auditing
            answering = auditing.noted(caller, call.connection, act, answering)
        response = await answering
        if need.listed and not caller.sees_all:
            _leave_out(getattr(response, need.listed), caller)
        return response

    async def _shared(self, name: str, request: Any, caller: Caller) -> Any:
        """The answer of an RPC about shared memory, of which each team has its own."""
        return _SHARED_MEMORY[name](self._administration.shared_memory, request, caller.name)

    async def _model_stream_infer(self, rpc: Rpc) -> None:
        self._calls.begin()
        with Ending(rpc):
            await self._streams.run(self._calls.messages(rpc), rpc.write, rpc.call)

    async def server_live(self, _: pb.ServerLiveRequest) -> pb.ServerLiveResponse:
        """Live: it answers."""
        return pb.ServerLiveResponse(live=True)

    async def server_ready(self, _: pb.ServerReadyRequest) -> pb.ServerReadyResponse:
        """Ready: it takes requests, and no model is still being loaded."""
        return pb.ServerReadyResponse(
            ready=self._catalog.all_settled() and not self._inference.draining
        )

    async def model_ready(self, request: pb.ModelReadyRequest) -> pb.ModelReadyResponse:
        """Ready: each stage has a worker. An unknown model is not ready, which is no error."""
        return pb.ModelReadyResponse(ready=self._catalog.ready(request.name, request.version))

    async def server_metadata(self, _: pb.ServerMetadataRequest) -> pb.ServerMetadataResponse:
        """Name, version, and the extensions that are implemented."""
        allowed = self._administration.shared_memory.allowed
        offered = (*EXTENSIONS, "system_shared_memory") if allowed else EXTENSIONS
        return pb.ServerMetadataResponse(
            name=self._server_name, version=penstock.__version__, extensions=offered
        )

    async def model_metadata(self, request: pb.ModelMetadataRequest) -> pb.ModelMetadataResponse:
        """Versions, and inputs and outputs with their full shapes."""
        id_, deployment = await self._described(request.name, request.version)
        named = [id_.version] if request.version else self._catalog.versions_of(id_.model)
        tensor = pb.ModelMetadataResponse.TensorMetadata
        return pb.ModelMetadataResponse(
            name=id_.model,
            versions=[str(version) for version in named],
            platform=deployment.config.platform,
            inputs=[
                tensor(name=s.name, datatype=s.datatype, shape=s.shape) for s in deployment.inputs
            ],
            outputs=[
                tensor(name=s.name, datatype=s.datatype, shape=s.shape) for s in deployment.outputs
            ],
        )

    async def model_config(self, request: pb.ModelConfigRequest) -> pb.ModelConfigResponse:
        """The configuration, completed."""
        _, deployment = await self._described(request.name, request.version)
        return pb.ModelConfigResponse(config=deployment.config)

    async def _described(self, model: str, version: str) -> tuple[VersionId, Deployment]:
        """What the catalog knows of the version; where models are loaded on demand, this loads."""
        deadline = self._inference.on_demand.default_deadline()
        while True:
            try:
                return self._catalog.described(model, version)
            except ModelUnloaded as missing:
                await self._inference.on_demand.load(missing, deadline)

    async def model_statistics(
        self, request: pb.ModelStatisticsRequest
    ) -> pb.ModelStatisticsResponse:
        """Statistics of the whole cluster, as of now."""
        ids = self._statistics_of(request.name, parse_version(request.version))
        wanted = [(id_, self._catalog.is_ensemble(id_)) for id_ in ids]
        counters = await self._router.statistics(wanted)
        return pb.ModelStatisticsResponse(
            model_stats=[
                model_statistics(id_.model, id_.version, found)
                for id_, found in zip(ids, counters, strict=True)
            ]
        )

    def _statistics_of(self, model: str, version: int) -> list[VersionId]:
        ids = sorted(self._catalog.states)
        if not model:
            return ids
        ids = [id_ for id_ in ids if id_.model == model]
        if not ids:
            raise InvalidRequest(f"requested model '{model}' is not available")
        ids = [id_ for id_ in ids if version in (0, id_.version)]
        if not ids:
            raise InvalidRequest(f"requested model version is not available for model '{model}'")
        return ids

    async def repository_index(
        self, request: pb.RepositoryIndexRequest
    ) -> pb.RepositoryIndexResponse:
        """Every version with its state and the reason, and the name of what was never loaded."""
        if request.repository_name:
            raise Unimplemented("'repository_name' specification is not supported")
        entry = pb.RepositoryIndexResponse.ModelIndex
        found = [
            entry(
                name=id_.model,
                version=str(id_.version) if id_.version else "",
                state=state.state,
                reason=state.reason,
            )
            for id_, state in self._catalog.states.items()
            if state.state == "READY" or not request.ready
        ]
        if not request.ready:
            known = {id_.model for id_ in self._catalog.states}
            found += [entry(name=name) for name in self._catalog.snapshot.available - known]
        return pb.RepositoryIndexResponse(models=sorted(found, key=attrgetter("name")))

    async def repository_model_load(
        self, request: pb.RepositoryModelLoadRequest
    ) -> pb.RepositoryModelLoadResponse:
        """Load a model on the whole cluster."""
        await self._administration.control.load(request)
        return pb.RepositoryModelLoadResponse()

    async def repository_model_unload(
        self, request: pb.RepositoryModelUnloadRequest
    ) -> pb.RepositoryModelUnloadResponse:
        """Unload a model from the whole cluster."""
        await self._administration.control.unload(request)
        return pb.RepositoryModelUnloadResponse()

    async def log_settings(self, request: pb.LogSettingsRequest) -> pb.LogSettingsResponse:
        """What the gateways write to their logs; changed where the request says so."""
        return await self._administration.settings.change_log(request)

    async def trace_setting(self, request: pb.TraceSettingRequest) -> pb.TraceSettingResponse:
        """Which requests the gateways trace; changed where the request says so."""
        model = request.model_name
        if model and not self._catalog.versions_of(model):
            raise InvalidRequest(f"Request for unknown model : {model}")
        return await self._administration.settings.change_trace(request)


def _leave_out(entries: Any, caller: Caller) -> None:
    """Take out what is of models that *caller* may not use."""
    theirs = [entry for entry in entries if caller.may_use(entry.name)]
    del entries[:]
    entries.extend(theirs)


_METHODS: Final[dict[str, Callable[[InferenceService, Any], Awaitable[Any]]]] = {
    "ServerLive": InferenceService.server_live,
    "ServerReady": InferenceService.server_ready,
    "ModelReady": InferenceService.model_ready,
    "ServerMetadata": InferenceService.server_metadata,
    "ModelMetadata": InferenceService.model_metadata,
    "ModelConfig": InferenceService.model_config,
    "ModelStatistics": InferenceService.model_statistics,
    "RepositoryIndex": InferenceService.repository_index,
    "LogSettings": InferenceService.log_settings,
    "TraceSetting": InferenceService.trace_setting,
    "RepositoryModelLoad": InferenceService.repository_model_load,
    "RepositoryModelUnload": InferenceService.repository_model_unload,
}

_SHARED_MEMORY: Final[dict[str, Callable[[SharedMemory, Any, str], Any]]] = {
    "SystemSharedMemoryStatus": SharedMemory.system_status,
    "SystemSharedMemoryRegister": SharedMemory.system_register,
    "SystemSharedMemoryUnregister": SharedMemory.system_unregister,
    "CudaSharedMemoryStatus": SharedMemory.cuda_status,
    "CudaSharedMemoryRegister": SharedMemory.cuda_register,
    "CudaSharedMemoryUnregister": SharedMemory.cuda_unregister,
}
"""What answers it, of those that are of the caller's team."""
