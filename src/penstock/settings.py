"""Settings: what each role is told, once, by options and ``PENSTOCK_*`` variables.

Each role has one value, which it reads at its start and then only passes. A field's docstring is
what ``--help`` says of its option; ``(default: ...)`` follows by itself where it is not written.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from penstock.clock import LONGEST_MS
from penstock.options import Metavar, Options, command_line
from penstock.process.child_process import python_command
from penstock.setting_types import (
    BY_COMMAS,
    Bytes,
    CallerSettings,
    ControlMode,
    Count,
    File,
    GrpcSettings,
    HopSettings,
    Host,
    Level,
    Natural,
    Port,
    Repositories,
    Seconds,
    StoreSettings,
    Word,
)

LEASE_MS = 5000
"""How long a worker may be silent before others get its jobs."""

WORKER_SILENCE_S = 60.0
"""How long a worker may give its node no sign of life: it may hold the interpreter meanwhile."""

WORKER_DRAIN_S = 15.0
"""How long a worker may take to end what it has begun, before it is killed."""


class RoleSettings(StoreSettings):
    """What every role has."""

    role: ClassVar[str]

    redis: Annotated[str, Field(repr=False), Metavar("URL")]
    """Redis or Valkey: redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://.
    Required, unless PENSTOCK_REDIS is set."""

    log_level: Level = "info"
    """Least level that is logged: debug, info, warning or error."""

    log_json: bool = False
    """Log JSON lines instead of text for people."""

    ready_file: File | None = None
    """Written, with the role's address, once this role serves."""

    health_host: Host = "127.0.0.1"
    """Address of --health-port."""

    health_port: Port | None = None
    """Answer GET /livez and /readyz here: whether this process lives, and serves. (default:
    nowhere)"""

    parent_pid: Annotated[int, Metavar("PID")] | None = None
    """End when this process does."""

    @classmethod
    def child_command(cls, values: Mapping[str, Any]) -> list[str]:
        """The command line of this role, as a child of this process, with *values* of its fields.

        Names that are no field of it are ignored. Secrets go by the environment
        (`penstock.process.child_process.role_environment`).
        """
        words = command_line(cls, {**values, "parent_pid": os.getpid()})
        return python_command("penstock", cls.role, *words)


class ServingSettings(CallerSettings):
    """Where a gateway, or `penstock up`, serves."""

    host: Host = "127.0.0.1"
    """Address to serve at; 0.0.0.0 or :: for all of this machine's."""

    port: Port = 8001
    """0 takes any free one; the ready file says which."""

    grpc_front: Literal["aio", "asgi"] = "aio"
    """What speaks gRPC: aio, which is gRPC's own, or asgi, which is cheaper for small requests and
    needs the extra penstock[http]."""

    processes: Count = 1
    """Gateway processes that share the port."""

    http: bool = True
    """Serve the REST protocol, if the extra penstock[http] is installed."""

    http_host: Host | None = None
    """Address of the REST protocol. (default: that of --host)"""

    http_port: Port | None = None
    """0 takes any free one. (default: 8000, if it is free)"""

    metrics: bool = True
    """Serve metrics over HTTP."""

    metrics_host: Host | None = None
    """Address of the metrics. (default: that of --host)"""

    metrics_port: Port | None = None
    """0 takes any free one. (default: 8002, if it is free)"""

    default_timeout_s: Seconds = 60.0
    """Timeout of requests whose client and model give none."""

    access_log: File | None = None
    """Where a line of JSON goes for each call: caller, method, model, code, seconds, bytes."""

    tls_cert: File | None = None
    """The server's certificate, in PEM format, with those between it and a root. All ports speak
    TLS then. Read again when it changes."""

    tls_key: File | None = None
    """Its private key, without a password."""

    tls_client_ca: File | None = None
    """Authorities of clients' certificates, without which nobody gets in."""

    tls_client_auth: Literal["required", "optional"] = "required"
    """With --tls-client-ca: required, or optional, for gRPC with --grpc-front asgi alone."""

    allow_client_shm: Word = False
    """true: clients on this machine may pass tensors in POSIX shared memory."""


class GatewaySettings(GrpcSettings, ServingSettings, RoleSettings):
    """The gateway."""

    role = "gateway"

    max_message_mib: Count = 64
    """Largest request and reply."""

    parent_key: Annotated[str | None, Field(repr=False), Metavar("KEY")] = None
    """A key of the process that started this one: it may ask how the cluster is."""

    max_memory_mib: Count | None = None
    """Memory of the process from which on calls are refused. (default: half of the machine's or
    container's, shared by all processes)"""

    max_pending_mib: Count | None = None
    """Largest sum of requests in flight. (default: half of --max-memory-mib)"""

    max_unread_mib: Count | None = None
    """Largest sum of replies that clients have not read. (default: a quarter of
    --max-memory-mib)"""

    max_stream_mib: Count | None = None
    """Largest sum of one stream's unsent responses. (default: a quarter of --max-unread-mib, at
    most 256)"""

    max_calls: Count = 20_000
    """Most calls at one time."""

    max_override_mib: Count = 48
    """Largest sum of the files that come with a request to load a model."""

    max_queue_jobs: Count = 100_000
    """Most jobs that wait in one queue, unless the model's own limit is smaller."""

    max_queue_mib: Count = 1024
    """Largest sum of one version's unanswered requests, those below 4 KiB not counted."""

    lent_payload_mib: Natural = 256
    """Shared memory for large requests, which workers on this machine read there; 0 sends all
    through Redis."""

    direct: bool = True
    """Small requests go straight to workers on this machine that sleep, or through Redis as all
    others."""

    server_name: str = "triton"
    """What ServerMetadata answers; Triton's examples insist on triton."""

    drain_s: Annotated[float, Field(ge=0, le=LONGEST_MS / 1000, allow_inf_nan=False)] = 10.0
    """Time that requests in flight have when the gateway stops."""

    shared_port: bool = False
    """This is one of several processes on the port."""

    metrics_file: File | None = None
    """Written, with the address, once metrics are served."""

    http_file: File | None = None
    """Written, with the address, once the REST protocol is served."""

    local_socket: File | None = None
    """A Unix socket at which gRPC is served, too, without TLS."""

    trace_file: File | None = None
    """Where traces go, as JSON lines. (default: nothing is traced)"""

    allow_code_overrides: bool = False
    """Take code, such as .pt2, that comes over the network with a load."""

    idempotency_ttl_s: Seconds = 600.0
    """How long replies to idempotency keys are kept."""

    idempotency_bytes: Annotated[Count, Bytes] = 256 * 1024**2
    """Size of all these replies, on the whole cluster."""

    resume_s: Seconds = 60.0
    """How long a resumable answer of a language model goes on while nobody listens, and how long it
    is kept after its end."""


class RepositorySettings(Options):
    """What is done with the models of a repository."""

    model_control_mode: Annotated[ControlMode, Metavar("MODE")] = "poll"
    """Which models are loaded. none: all that are there at the start. poll: those, and whatever
    changes. explicit: those that clients load. on-demand: those that clients ask for; idle ones
    make room."""

    repository_poll_secs: Seconds = 2.0
    """How often the repository is looked at, in seconds."""

    load_model: Annotated[tuple[str, ...], BY_COMMAS, Metavar("MODEL")] = ()
    """With explicit and on-demand: load it at the start; '*' for all. Never unloaded to make room.
    May be given several times."""

    response_cache_bytes: Annotated[Natural, Bytes] = 64 * 1024**2
    """Size of the response cache, on the whole cluster. 0: models with response_cache are
    refused."""


class SchedulerSettings(RepositorySettings, RoleSettings):
    """The scheduler; without a repository where another one publishes it."""

    role = "scheduler"

    models: Repositories = ()


class WorkerLimits(Options):
    """What workers may do, whoever starts them."""

    lease_ms: Annotated[int, Field(ge=200, le=LONGEST_MS)] = LEASE_MS
    """How long a silent worker keeps its jobs; 200 or more."""

    run_limit_s: Seconds = 600.0
    """A batch that runs for longer ends its worker, which is started again."""

    allow_python_models: bool = False
    """Run Python models: code that the model repository holds."""

    allow_code_overrides: bool = False
    """Take code, such as .pt2, that comes over the network with a load."""


class MachineSettings(WorkerLimits):
    """What workers may have of this machine."""

    threads: Count | None = None
    """Threads of each CPU worker. (default: cores shared evenly)"""

    memory_mib: Count | None = None
    """Memory of the CPU device. (default: what the machine or container has)"""

    gpu_memory_mib: Count | None = None
    """Memory of each GPU device, where others use the same GPUs. (default: what they have)"""

    worker_silence_s: Seconds = WORKER_SILENCE_S
    """A worker that gives no sign of life for longer is killed and started again."""


class NodeSettings(MachineSettings, HopSettings, RoleSettings):
    """The node agent."""

    role = "node"

    models: Annotated[Repositories, Field(min_length=1)]

    node: str | None = None
    """The node's name. (default: the host's)"""

    drain_s: Seconds = WORKER_DRAIN_S
    """Time that workers have to end what they have begun when the node stops."""


class WorkerSettings(WorkerLimits, HopSettings, RoleSettings):
    """One worker: one stage of one model version on one device."""

    role = "worker"

    models: Annotated[Repositories, Field(min_length=1)]

    model: str
    """The model's name."""

    version: Count
    """Its version."""

    stage: Natural = 0
    """The shard's place in the pipeline."""

    device: Annotated[str, Field(pattern=r"^(cpu|cuda):\d+$")] = "cpu:0"
    """cpu:0, cuda:0, cuda:1 ..."""

    sees_one_device: bool = False
    """Its GPU is the only one that the process sees, and so the first, whatever its number."""

    worker_id: str | None = None
    """Name of the worker, the same over restarts. (default: one is made up)"""

    boot_id: str | None = None
    """Name of this start. (default: one is made up)"""

    restarts: Natural = 0
    """How often it was started again."""

    load_error: str = ""
    """Why it could not load the shard when it was started before."""

    node: str = ""
    """The node that it belongs to."""

    fingerprint: str | None = None
    """Fingerprint of the artifact that must be loaded. (default: whatever is there)"""

    revision_id: str | None = None
    """Content of the version. (default: the published one)"""

    threads: Count | None = None
    """Computing threads. (default: one for each core)"""

    heartbeat_fd: Annotated[int, Field(ge=0), Metavar("FD")] | None = None
    """A pipe that gets a byte each second."""


class UpSettings(RepositorySettings, ServingSettings, MachineSettings, StoreSettings):
    """Everything on one machine."""

    models: Annotated[Repositories, Field(min_length=1)] = (Path("models"),)

    redis: Annotated[str | None, Field(repr=False), Metavar("URL")] = None
    """A Redis or Valkey that runs already. (default: start one)"""

    data: Annotated[Path, Metavar("DIR")] | None = None
    """Keep the queue here. (default: removed at the end)"""

    ready_file: File | None = None
    """Written, with the gateway's address, once all models that can be ready are."""

    log_level: Level = "warning"
    """Least level that is shown of all roles: debug, info, warning or error."""
