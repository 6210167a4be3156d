from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class WorkerState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WORKER_STATE_UNSPECIFIED: _ClassVar[WorkerState]
    WORKER_STATE_LOADING: _ClassVar[WorkerState]
    WORKER_STATE_READY: _ClassVar[WorkerState]
    WORKER_STATE_DRAINING: _ClassVar[WorkerState]
    WORKER_STATE_FAILED: _ClassVar[WorkerState]
    WORKER_STATE_RESTARTING: _ClassVar[WorkerState]
WORKER_STATE_UNSPECIFIED: WorkerState
WORKER_STATE_LOADING: WorkerState
WORKER_STATE_READY: WorkerState
WORKER_STATE_DRAINING: WorkerState
WORKER_STATE_FAILED: WorkerState
WORKER_STATE_RESTARTING: WorkerState

class TensorSpec(_message.Message):
    __slots__ = ("name", "datatype", "shape", "optional", "any_rank")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DATATYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    OPTIONAL_FIELD_NUMBER: _ClassVar[int]
    ANY_RANK_FIELD_NUMBER: _ClassVar[int]
    name: str
    datatype: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    optional: bool
    any_rank: bool
    def __init__(self, name: _Optional[str] = ..., datatype: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ..., optional: _Optional[bool] = ..., any_rank: _Optional[bool] = ...) -> None: ...

class Signature(_message.Message):
    __slots__ = ("inputs", "outputs", "parameter_bytes", "config")
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    PARAMETER_BYTES_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    inputs: _containers.RepeatedCompositeFieldContainer[TensorSpec]
    outputs: _containers.RepeatedCompositeFieldContainer[TensorSpec]
    parameter_bytes: int
    config: bytes
    def __init__(self, inputs: _Optional[_Iterable[_Union[TensorSpec, _Mapping]]] = ..., outputs: _Optional[_Iterable[_Union[TensorSpec, _Mapping]]] = ..., parameter_bytes: _Optional[int] = ..., config: _Optional[bytes] = ...) -> None: ...

class BatchProof(_message.Message):
    __slots__ = ("proved", "why")
    PROVED_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    proved: bool
    why: str
    def __init__(self, proved: _Optional[bool] = ..., why: _Optional[str] = ...) -> None: ...

class Stage(_message.Message):
    __slots__ = ("index", "artifact", "artifact_bytes", "fingerprint", "runtime")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_BYTES_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_FIELD_NUMBER: _ClassVar[int]
    index: int
    artifact: str
    artifact_bytes: int
    fingerprint: str
    runtime: str
    def __init__(self, index: _Optional[int] = ..., artifact: _Optional[str] = ..., artifact_bytes: _Optional[int] = ..., fingerprint: _Optional[str] = ..., runtime: _Optional[str] = ...) -> None: ...

class ModelVersion(_message.Message):
    __slots__ = ("model", "version", "config", "stages", "error", "fingerprint", "replicas", "device_kind", "labels", "revision_id", "files", "initial_states")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Labels
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Labels, _Mapping]] = ...) -> None: ...
    class InitialStatesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: bytes
        def __init__(self, key: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    STAGES_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    DEVICE_KIND_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    REVISION_ID_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    INITIAL_STATES_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    config: bytes
    stages: _containers.RepeatedCompositeFieldContainer[Stage]
    error: str
    fingerprint: str
    replicas: int
    device_kind: str
    labels: _containers.MessageMap[str, Labels]
    revision_id: str
    files: _containers.RepeatedCompositeFieldContainer[File]
    initial_states: _containers.ScalarMap[str, bytes]
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., config: _Optional[bytes] = ..., stages: _Optional[_Iterable[_Union[Stage, _Mapping]]] = ..., error: _Optional[str] = ..., fingerprint: _Optional[str] = ..., replicas: _Optional[int] = ..., device_kind: _Optional[str] = ..., labels: _Optional[_Mapping[str, Labels]] = ..., revision_id: _Optional[str] = ..., files: _Optional[_Iterable[_Union[File, _Mapping]]] = ..., initial_states: _Optional[_Mapping[str, bytes]] = ...) -> None: ...

class File(_message.Message):
    __slots__ = ("path", "digest", "size")
    PATH_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    path: str
    digest: str
    size: int
    def __init__(self, path: _Optional[str] = ..., digest: _Optional[str] = ..., size: _Optional[int] = ...) -> None: ...

class LoadRequest(_message.Message):
    __slots__ = ("model", "id", "unload", "config", "files", "reason", "time_ms")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    UNLOAD_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    TIME_MS_FIELD_NUMBER: _ClassVar[int]
    model: str
    id: str
    unload: bool
    config: bytes
    files: _containers.RepeatedCompositeFieldContainer[File]
    reason: str
    time_ms: int
    def __init__(self, model: _Optional[str] = ..., id: _Optional[str] = ..., unload: _Optional[bool] = ..., config: _Optional[bytes] = ..., files: _Optional[_Iterable[_Union[File, _Mapping]]] = ..., reason: _Optional[str] = ..., time_ms: _Optional[int] = ...) -> None: ...

class LoadResult(_message.Message):
    __slots__ = ("load_request", "error", "unloaded")
    LOAD_REQUEST_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    UNLOADED_FIELD_NUMBER: _ClassVar[int]
    load_request: str
    error: str
    unloaded: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, load_request: _Optional[str] = ..., error: _Optional[str] = ..., unloaded: _Optional[_Iterable[int]] = ...) -> None: ...

class Labels(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, values: _Optional[_Iterable[str]] = ...) -> None: ...

class Route(_message.Message):
    __slots__ = ("ensemble", "version", "steps", "outputs", "most_jobs", "most_bytes")
    ENSEMBLE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    MOST_JOBS_FIELD_NUMBER: _ClassVar[int]
    MOST_BYTES_FIELD_NUMBER: _ClassVar[int]
    ensemble: str
    version: int
    steps: _containers.RepeatedCompositeFieldContainer[RouteStep]
    outputs: _containers.RepeatedScalarFieldContainer[str]
    most_jobs: int
    most_bytes: int
    def __init__(self, ensemble: _Optional[str] = ..., version: _Optional[int] = ..., steps: _Optional[_Iterable[_Union[RouteStep, _Mapping]]] = ..., outputs: _Optional[_Iterable[str]] = ..., most_jobs: _Optional[int] = ..., most_bytes: _Optional[int] = ...) -> None: ...

class RouteStep(_message.Message):
    __slots__ = ("model", "version", "revision_id", "inputs", "outputs", "keeps", "batched", "levels", "default_level", "timeout_us", "may_shorten", "most_jobs", "within", "index", "puts_off", "own_policies", "ordered", "decoupled")
    class InputsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class OutputsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class OwnPoliciesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: LevelPolicy
        def __init__(self, key: _Optional[int] = ..., value: _Optional[_Union[LevelPolicy, _Mapping]] = ...) -> None: ...
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    REVISION_ID_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    KEEPS_FIELD_NUMBER: _ClassVar[int]
    BATCHED_FIELD_NUMBER: _ClassVar[int]
    LEVELS_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_LEVEL_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_US_FIELD_NUMBER: _ClassVar[int]
    MAY_SHORTEN_FIELD_NUMBER: _ClassVar[int]
    MOST_JOBS_FIELD_NUMBER: _ClassVar[int]
    WITHIN_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    PUTS_OFF_FIELD_NUMBER: _ClassVar[int]
    OWN_POLICIES_FIELD_NUMBER: _ClassVar[int]
    ORDERED_FIELD_NUMBER: _ClassVar[int]
    DECOUPLED_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    revision_id: str
    inputs: _containers.ScalarMap[str, str]
    outputs: _containers.ScalarMap[str, str]
    keeps: _containers.RepeatedScalarFieldContainer[str]
    batched: bool
    levels: int
    default_level: int
    timeout_us: int
    may_shorten: bool
    most_jobs: int
    within: _containers.RepeatedScalarFieldContainer[str]
    index: int
    puts_off: bool
    own_policies: _containers.MessageMap[int, LevelPolicy]
    ordered: bool
    decoupled: bool
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., revision_id: _Optional[str] = ..., inputs: _Optional[_Mapping[str, str]] = ..., outputs: _Optional[_Mapping[str, str]] = ..., keeps: _Optional[_Iterable[str]] = ..., batched: _Optional[bool] = ..., levels: _Optional[int] = ..., default_level: _Optional[int] = ..., timeout_us: _Optional[int] = ..., may_shorten: _Optional[bool] = ..., most_jobs: _Optional[int] = ..., within: _Optional[_Iterable[str]] = ..., index: _Optional[int] = ..., puts_off: _Optional[bool] = ..., own_policies: _Optional[_Mapping[int, LevelPolicy]] = ..., ordered: _Optional[bool] = ..., decoupled: _Optional[bool] = ...) -> None: ...

class LevelPolicy(_message.Message):
    __slots__ = ("timeout_us", "may_shorten", "most_jobs", "puts_off")
    TIMEOUT_US_FIELD_NUMBER: _ClassVar[int]
    MAY_SHORTEN_FIELD_NUMBER: _ClassVar[int]
    MOST_JOBS_FIELD_NUMBER: _ClassVar[int]
    PUTS_OFF_FIELD_NUMBER: _ClassVar[int]
    timeout_us: int
    may_shorten: bool
    most_jobs: int
    puts_off: bool
    def __init__(self, timeout_us: _Optional[int] = ..., may_shorten: _Optional[bool] = ..., most_jobs: _Optional[int] = ..., puts_off: _Optional[bool] = ...) -> None: ...

class Device(_message.Message):
    __slots__ = ("kind", "index", "memory_bytes", "name")
    KIND_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    kind: str
    index: int
    memory_bytes: int
    name: str
    def __init__(self, kind: _Optional[str] = ..., index: _Optional[int] = ..., memory_bytes: _Optional[int] = ..., name: _Optional[str] = ...) -> None: ...

class Node(_message.Message):
    __slots__ = ("id", "host", "pid", "boot_id", "devices", "cores", "draining", "software", "runs_python", "hop_host")
    ID_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    CORES_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    SOFTWARE_FIELD_NUMBER: _ClassVar[int]
    RUNS_PYTHON_FIELD_NUMBER: _ClassVar[int]
    HOP_HOST_FIELD_NUMBER: _ClassVar[int]
    id: str
    host: str
    pid: int
    boot_id: str
    devices: _containers.RepeatedCompositeFieldContainer[Device]
    cores: int
    draining: bool
    software: str
    runs_python: bool
    hop_host: str
    def __init__(self, id: _Optional[str] = ..., host: _Optional[str] = ..., pid: _Optional[int] = ..., boot_id: _Optional[str] = ..., devices: _Optional[_Iterable[_Union[Device, _Mapping]]] = ..., cores: _Optional[int] = ..., draining: _Optional[bool] = ..., software: _Optional[str] = ..., runs_python: _Optional[bool] = ..., hop_host: _Optional[str] = ...) -> None: ...

class Placement(_message.Message):
    __slots__ = ("model", "version", "stage", "replica", "node", "device", "fingerprint", "revision_id")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    REVISION_ID_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    stage: int
    replica: int
    node: str
    device: str
    fingerprint: str
    revision_id: str
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., stage: _Optional[int] = ..., replica: _Optional[int] = ..., node: _Optional[str] = ..., device: _Optional[str] = ..., fingerprint: _Optional[str] = ..., revision_id: _Optional[str] = ...) -> None: ...

class Worker(_message.Message):
    __slots__ = ("id", "boot_id", "model", "version", "stage", "node", "device", "pid", "state", "reason", "memory_bytes", "restarts", "fingerprint", "software", "revision_id", "memory_domain", "lane", "load_error", "hop_address", "rebuild", "numeric_domain")
    ID_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    RESTARTS_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    SOFTWARE_FIELD_NUMBER: _ClassVar[int]
    REVISION_ID_FIELD_NUMBER: _ClassVar[int]
    MEMORY_DOMAIN_FIELD_NUMBER: _ClassVar[int]
    LANE_FIELD_NUMBER: _ClassVar[int]
    LOAD_ERROR_FIELD_NUMBER: _ClassVar[int]
    HOP_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    REBUILD_FIELD_NUMBER: _ClassVar[int]
    NUMERIC_DOMAIN_FIELD_NUMBER: _ClassVar[int]
    id: str
    boot_id: str
    model: str
    version: int
    stage: int
    node: str
    device: str
    pid: int
    state: WorkerState
    reason: str
    memory_bytes: int
    restarts: int
    fingerprint: str
    software: str
    revision_id: str
    memory_domain: str
    lane: str
    load_error: str
    hop_address: str
    rebuild: str
    numeric_domain: str
    def __init__(self, id: _Optional[str] = ..., boot_id: _Optional[str] = ..., model: _Optional[str] = ..., version: _Optional[int] = ..., stage: _Optional[int] = ..., node: _Optional[str] = ..., device: _Optional[str] = ..., pid: _Optional[int] = ..., state: _Optional[_Union[WorkerState, str]] = ..., reason: _Optional[str] = ..., memory_bytes: _Optional[int] = ..., restarts: _Optional[int] = ..., fingerprint: _Optional[str] = ..., software: _Optional[str] = ..., revision_id: _Optional[str] = ..., memory_domain: _Optional[str] = ..., lane: _Optional[str] = ..., load_error: _Optional[str] = ..., hop_address: _Optional[str] = ..., rebuild: _Optional[str] = ..., numeric_domain: _Optional[str] = ...) -> None: ...

class Gateway(_message.Message):
    __slots__ = ("id", "boot_id", "host", "pid", "address", "draining", "software", "left")
    ID_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    SOFTWARE_FIELD_NUMBER: _ClassVar[int]
    LEFT_FIELD_NUMBER: _ClassVar[int]
    id: str
    boot_id: str
    host: str
    pid: int
    address: str
    draining: bool
    software: str
    left: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, id: _Optional[str] = ..., boot_id: _Optional[str] = ..., host: _Optional[str] = ..., pid: _Optional[int] = ..., address: _Optional[str] = ..., draining: _Optional[bool] = ..., software: _Optional[str] = ..., left: _Optional[_Iterable[str]] = ...) -> None: ...

class Scheduler(_message.Message):
    __slots__ = ("id", "host", "pid", "software", "control_mode", "response_cache_bytes", "hashes_whole")
    ID_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    SOFTWARE_FIELD_NUMBER: _ClassVar[int]
    CONTROL_MODE_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_CACHE_BYTES_FIELD_NUMBER: _ClassVar[int]
    HASHES_WHOLE_FIELD_NUMBER: _ClassVar[int]
    id: str
    host: str
    pid: int
    software: str
    control_mode: str
    response_cache_bytes: int
    hashes_whole: bool
    def __init__(self, id: _Optional[str] = ..., host: _Optional[str] = ..., pid: _Optional[int] = ..., software: _Optional[str] = ..., control_mode: _Optional[str] = ..., response_cache_bytes: _Optional[int] = ..., hashes_whole: _Optional[bool] = ...) -> None: ...

class StatusRequest(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: str
    def __init__(self, model: _Optional[str] = ...) -> None: ...

class StatusResponse(_message.Message):
    __slots__ = ("nodes", "gateways", "schedulers", "versions")
    NODES_FIELD_NUMBER: _ClassVar[int]
    GATEWAYS_FIELD_NUMBER: _ClassVar[int]
    SCHEDULERS_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    nodes: _containers.RepeatedCompositeFieldContainer[Node]
    gateways: _containers.RepeatedCompositeFieldContainer[Gateway]
    schedulers: _containers.RepeatedCompositeFieldContainer[Scheduler]
    versions: _containers.RepeatedCompositeFieldContainer[VersionStatus]
    def __init__(self, nodes: _Optional[_Iterable[_Union[Node, _Mapping]]] = ..., gateways: _Optional[_Iterable[_Union[Gateway, _Mapping]]] = ..., schedulers: _Optional[_Iterable[_Union[Scheduler, _Mapping]]] = ..., versions: _Optional[_Iterable[_Union[VersionStatus, _Mapping]]] = ...) -> None: ...

class VersionStatus(_message.Message):
    __slots__ = ("model", "version", "state", "reason", "stages", "counts", "batching")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    STAGES_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    BATCHING_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    state: str
    reason: str
    stages: _containers.RepeatedCompositeFieldContainer[StageStatus]
    counts: VersionCounts
    batching: str
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., state: _Optional[str] = ..., reason: _Optional[str] = ..., stages: _Optional[_Iterable[_Union[StageStatus, _Mapping]]] = ..., counts: _Optional[_Union[VersionCounts, _Mapping]] = ..., batching: _Optional[str] = ...) -> None: ...

class StageStatus(_message.Message):
    __slots__ = ("index", "artifact", "artifact_bytes", "workers", "replicas_wanted", "waiting", "oldest_waiting_ms", "leases", "oldest_lease_ms")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_BYTES_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_WANTED_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    OLDEST_WAITING_MS_FIELD_NUMBER: _ClassVar[int]
    LEASES_FIELD_NUMBER: _ClassVar[int]
    OLDEST_LEASE_MS_FIELD_NUMBER: _ClassVar[int]
    index: int
    artifact: str
    artifact_bytes: int
    workers: _containers.RepeatedCompositeFieldContainer[Worker]
    replicas_wanted: int
    waiting: int
    oldest_waiting_ms: int
    leases: int
    oldest_lease_ms: int
    def __init__(self, index: _Optional[int] = ..., artifact: _Optional[str] = ..., artifact_bytes: _Optional[int] = ..., workers: _Optional[_Iterable[_Union[Worker, _Mapping]]] = ..., replicas_wanted: _Optional[int] = ..., waiting: _Optional[int] = ..., oldest_waiting_ms: _Optional[int] = ..., leases: _Optional[int] = ..., oldest_lease_ms: _Optional[int] = ...) -> None: ...

class VersionCounts(_message.Message):
    __slots__ = ("accepted", "succeeded", "failed", "expired", "cancelled", "dead", "crashes", "requeued", "fenced", "resubmitted", "refused_full", "refused_late", "prompt_tokens", "generated_tokens", "cached_tokens")
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    SUCCEEDED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    EXPIRED_FIELD_NUMBER: _ClassVar[int]
    CANCELLED_FIELD_NUMBER: _ClassVar[int]
    DEAD_FIELD_NUMBER: _ClassVar[int]
    CRASHES_FIELD_NUMBER: _ClassVar[int]
    REQUEUED_FIELD_NUMBER: _ClassVar[int]
    FENCED_FIELD_NUMBER: _ClassVar[int]
    RESUBMITTED_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FULL_FIELD_NUMBER: _ClassVar[int]
    REFUSED_LATE_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    GENERATED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    CACHED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    accepted: int
    succeeded: int
    failed: int
    expired: int
    cancelled: int
    dead: int
    crashes: int
    requeued: int
    fenced: int
    resubmitted: int
    refused_full: int
    refused_late: int
    prompt_tokens: int
    generated_tokens: int
    cached_tokens: int
    def __init__(self, accepted: _Optional[int] = ..., succeeded: _Optional[int] = ..., failed: _Optional[int] = ..., expired: _Optional[int] = ..., cancelled: _Optional[int] = ..., dead: _Optional[int] = ..., crashes: _Optional[int] = ..., requeued: _Optional[int] = ..., fenced: _Optional[int] = ..., resubmitted: _Optional[int] = ..., refused_full: _Optional[int] = ..., refused_late: _Optional[int] = ..., prompt_tokens: _Optional[int] = ..., generated_tokens: _Optional[int] = ..., cached_tokens: _Optional[int] = ...) -> None: ...

class EventsRequest(_message.Message):
    __slots__ = ("after_id",)
    AFTER_ID_FIELD_NUMBER: _ClassVar[int]
    after_id: str
    def __init__(self, after_id: _Optional[str] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("id", "time_ms", "kind", "subject", "detail")
    ID_FIELD_NUMBER: _ClassVar[int]
    TIME_MS_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    id: str
    time_ms: int
    kind: str
    subject: str
    detail: str
    def __init__(self, id: _Optional[str] = ..., time_ms: _Optional[int] = ..., kind: _Optional[str] = ..., subject: _Optional[str] = ..., detail: _Optional[str] = ...) -> None: ...

class DeadLettersRequest(_message.Message):
    __slots__ = ("model", "job")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    model: str
    job: str
    def __init__(self, model: _Optional[str] = ..., job: _Optional[str] = ...) -> None: ...

class DeadLettersResponse(_message.Message):
    __slots__ = ("letters",)
    LETTERS_FIELD_NUMBER: _ClassVar[int]
    letters: _containers.RepeatedCompositeFieldContainer[DeadLetter]
    def __init__(self, letters: _Optional[_Iterable[_Union[DeadLetter, _Mapping]]] = ...) -> None: ...

class DeadLetter(_message.Message):
    __slots__ = ("job", "model", "version", "stage", "revision_id", "worker", "crashes", "accepted_ms", "time_ms", "payload_bytes", "request_id", "inputs")
    JOB_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    REVISION_ID_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    CRASHES_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_MS_FIELD_NUMBER: _ClassVar[int]
    TIME_MS_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_BYTES_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    job: str
    model: str
    version: int
    stage: int
    revision_id: str
    worker: str
    crashes: int
    accepted_ms: int
    time_ms: int
    payload_bytes: int
    request_id: str
    inputs: _containers.RepeatedCompositeFieldContainer[TensorSpec]
    def __init__(self, job: _Optional[str] = ..., model: _Optional[str] = ..., version: _Optional[int] = ..., stage: _Optional[int] = ..., revision_id: _Optional[str] = ..., worker: _Optional[str] = ..., crashes: _Optional[int] = ..., accepted_ms: _Optional[int] = ..., time_ms: _Optional[int] = ..., payload_bytes: _Optional[int] = ..., request_id: _Optional[str] = ..., inputs: _Optional[_Iterable[_Union[TensorSpec, _Mapping]]] = ...) -> None: ...

class RetryDeadLetterRequest(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: str
    def __init__(self, job: _Optional[str] = ...) -> None: ...

class RetryDeadLetterResponse(_message.Message):
    __slots__ = ("reply", "job", "took_ms")
    REPLY_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    TOOK_MS_FIELD_NUMBER: _ClassVar[int]
    reply: bytes
    job: str
    took_ms: int
    def __init__(self, reply: _Optional[bytes] = ..., job: _Optional[str] = ..., took_ms: _Optional[int] = ...) -> None: ...

class AccessKey(_message.Message):
    __slots__ = ("id", "team", "scopes", "models", "networks", "certificates", "secrets", "created_ms", "expires_ms", "revoked_ms")
    ID_FIELD_NUMBER: _ClassVar[int]
    TEAM_FIELD_NUMBER: _ClassVar[int]
    SCOPES_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    NETWORKS_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATES_FIELD_NUMBER: _ClassVar[int]
    SECRETS_FIELD_NUMBER: _ClassVar[int]
    CREATED_MS_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_MS_FIELD_NUMBER: _ClassVar[int]
    REVOKED_MS_FIELD_NUMBER: _ClassVar[int]
    id: str
    team: str
    scopes: _containers.RepeatedScalarFieldContainer[str]
    models: _containers.RepeatedScalarFieldContainer[str]
    networks: _containers.RepeatedScalarFieldContainer[str]
    certificates: _containers.RepeatedScalarFieldContainer[str]
    secrets: _containers.RepeatedCompositeFieldContainer[AccessSecret]
    created_ms: int
    expires_ms: int
    revoked_ms: int
    def __init__(self, id: _Optional[str] = ..., team: _Optional[str] = ..., scopes: _Optional[_Iterable[str]] = ..., models: _Optional[_Iterable[str]] = ..., networks: _Optional[_Iterable[str]] = ..., certificates: _Optional[_Iterable[str]] = ..., secrets: _Optional[_Iterable[_Union[AccessSecret, _Mapping]]] = ..., created_ms: _Optional[int] = ..., expires_ms: _Optional[int] = ..., revoked_ms: _Optional[int] = ...) -> None: ...

class ListKeysRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListKeysResponse(_message.Message):
    __slots__ = ("keys",)
    KEYS_FIELD_NUMBER: _ClassVar[int]
    keys: _containers.RepeatedCompositeFieldContainer[AccessKey]
    def __init__(self, keys: _Optional[_Iterable[_Union[AccessKey, _Mapping]]] = ...) -> None: ...

class CreateKeyRequest(_message.Message):
    __slots__ = ("team", "scopes", "models", "networks", "certificates", "ttl_ms", "without_secret")
    TEAM_FIELD_NUMBER: _ClassVar[int]
    SCOPES_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    NETWORKS_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATES_FIELD_NUMBER: _ClassVar[int]
    TTL_MS_FIELD_NUMBER: _ClassVar[int]
    WITHOUT_SECRET_FIELD_NUMBER: _ClassVar[int]
    team: str
    scopes: _containers.RepeatedScalarFieldContainer[str]
    models: _containers.RepeatedScalarFieldContainer[str]
    networks: _containers.RepeatedScalarFieldContainer[str]
    certificates: _containers.RepeatedScalarFieldContainer[str]
    ttl_ms: int
    without_secret: bool
    def __init__(self, team: _Optional[str] = ..., scopes: _Optional[_Iterable[str]] = ..., models: _Optional[_Iterable[str]] = ..., networks: _Optional[_Iterable[str]] = ..., certificates: _Optional[_Iterable[str]] = ..., ttl_ms: _Optional[int] = ..., without_secret: _Optional[bool] = ...) -> None: ...

class RotateKeyRequest(_message.Message):
    __slots__ = ("id", "grace_ms")
    ID_FIELD_NUMBER: _ClassVar[int]
    GRACE_MS_FIELD_NUMBER: _ClassVar[int]
    id: str
    grace_ms: int
    def __init__(self, id: _Optional[str] = ..., grace_ms: _Optional[int] = ...) -> None: ...

class RevokeKeyRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class KeyResponse(_message.Message):
    __slots__ = ("key", "secret")
    KEY_FIELD_NUMBER: _ClassVar[int]
    SECRET_FIELD_NUMBER: _ClassVar[int]
    key: AccessKey
    secret: str
    def __init__(self, key: _Optional[_Union[AccessKey, _Mapping]] = ..., secret: _Optional[str] = ...) -> None: ...

class RevokeKeyResponse(_message.Message):
    __slots__ = ("key", "was_revoked")
    KEY_FIELD_NUMBER: _ClassVar[int]
    WAS_REVOKED_FIELD_NUMBER: _ClassVar[int]
    key: AccessKey
    was_revoked: bool
    def __init__(self, key: _Optional[_Union[AccessKey, _Mapping]] = ..., was_revoked: _Optional[bool] = ...) -> None: ...

class AccessSecret(_message.Message):
    __slots__ = ("sha256", "created_ms", "expires_ms")
    SHA256_FIELD_NUMBER: _ClassVar[int]
    CREATED_MS_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_MS_FIELD_NUMBER: _ClassVar[int]
    sha256: bytes
    created_ms: int
    expires_ms: int
    def __init__(self, sha256: _Optional[bytes] = ..., created_ms: _Optional[int] = ..., expires_ms: _Optional[int] = ...) -> None: ...
