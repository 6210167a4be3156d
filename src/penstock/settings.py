"""Settings: read once at the edge from options and ``PENSTOCK_*`` variables, and then only passed.

Each role has one value. An option of the command line wins over the environment's variable of the
same name (``--default-timeout-s`` and ``PENSTOCK_DEFAULT_TIMEOUT_S``), which wins over the
default. Nonsense is refused by the variable's name (`load`).
"""

import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from penstock.clock import LONGEST_MS
from penstock.errors import InvalidConfiguration
from penstock.process.redaction import redacted

PREFIX = "PENSTOCK_"

LEASE_MS = 5000
"""How long a worker may be silent before others get its jobs."""

RUN_LIMIT_S = 600.0
"""How long a batch may run before its worker is taken for hung."""

WORKER_SILENCE_S = 60.0
"""How long a worker may give its node no sign of life: it may hold the interpreter meanwhile."""

CACHE_BYTES = 64 * 1024**2
"""Of cached replies on the whole cluster."""

Secret = Annotated[str, Field(repr=False)]
Port = Annotated[int, Field(ge=0, le=65535)]
Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, le=LONGEST_MS / 1000, allow_inf_nan=False)]
CacheBytes = Annotated[int, Field(ge=0)]
LeaseMs = Annotated[int, Field(ge=200, le=LONGEST_MS)]
Level = Literal["debug", "info", "warning", "error"]
ControlMode = Literal["none", "poll", "explicit", "on-demand"]


def _paths(value: object) -> object:
    """Several paths, from one text as in PATH, or from one path."""
    if isinstance(value, str):
        return [part for part in value.split(os.pathsep) if part]
    return [value] if isinstance(value, Path) else value


def _names(value: object) -> object:
    return [part for part in value.split(",") if part] if isinstance(value, str) else value


Repositories = Annotated[tuple[Path, ...], NoDecode, BeforeValidator(_paths)]
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_names)]


def _parted(value: Any) -> Any:
    """What a variable holds of an option that may be repeated."""
    if not isinstance(value, str):
        return value
    # A list in JSON, as processes hand it on, may hold semicolons.
    if value.startswith("["):
        return json.loads(value)
    return [part for part in value.split(";") if part]


class RoleSettings(BaseSettings):
    """What every role has.

    Attributes:
        redis: URL of Redis or Valkey; ``redis+sentinel://`` and ``redis+cluster://`` as well.
        log_level: the least level that is written.
        log_json: JSON lines instead of text for people.
        ready_file: is written, with the role's address, once the role serves.
        parent_pid: the role ends when this process does; None to live by itself.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", protected_namespaces=()
    )

    redis: Secret
    log_level: Level = "info"
    log_json: bool = False
    ready_file: Path | None = None
    parent_pid: int | None = None


Milliseconds = Annotated[int, Field(ge=1, le=2**31 - 1)]


class GrpcSettings(RoleSettings):
    """How the gRPC server treats connections, by Triton's names.

    Attributes:
        grpc_infer_response_compression_level: of replies to clients that take compressed ones.
        grpc_restricted_protocol: "<protocols>:<key>=<value>", each a rule of
            `penstock.gateway.fronts.grpc.access`; in the environment they are parted by semicolons.
        grpc_keepalive_time: milliseconds of silence after which the server pings.
        grpc_keepalive_timeout: milliseconds that it waits for the answer to a ping.
        grpc_keepalive_permit_without_calls: it pings connections without calls, too.
        grpc_http2_max_pings_without_data: most pings that it sends while no data flows; 0 for any.
        grpc_http2_min_recv_ping_interval_without_data: milliseconds that clients must leave
            between pings while no data flows.
        grpc_http2_max_ping_strikes: pings before their time that a client may send; 0 for any.
        grpc_max_connection_age: milliseconds until a connection is ended; None for never.
        grpc_max_connection_age_grace: milliseconds that its calls have then; None for any.
        grpc_max_connection_idle: milliseconds without a call until a connection is ended; None
            for never.
        grpc_max_concurrent_streams: most calls of one connection at a time; more wait with their
            client.
        max_connections: most connections of clients; fewer, where the process may not have so many
            descriptors.
    """

    grpc_infer_response_compression_level: Literal["none", "low", "medium", "high"] = "none"
    grpc_restricted_protocol: Annotated[
        tuple[str, ...], NoDecode, BeforeValidator(_parted), Field(repr=False)
    ] = ()
    grpc_keepalive_time: Milliseconds = 7_200_000
    grpc_keepalive_timeout: Milliseconds = 20_000
    grpc_keepalive_permit_without_calls: bool = True
    grpc_http2_max_pings_without_data: Annotated[int, Field(ge=0)] = 2
    grpc_http2_min_recv_ping_interval_without_data: Milliseconds = 1000
    grpc_http2_max_ping_strikes: Annotated[int, Field(ge=0)] = 0
    grpc_max_connection_age: Milliseconds | None = None
    grpc_max_connection_age_grace: Milliseconds | None = None
    grpc_max_connection_idle: Milliseconds | None = None
    grpc_max_concurrent_streams: Annotated[int, Field(ge=1, le=2**31 - 1)] = 512
    max_connections: Annotated[int, Field(ge=1, le=2**31 - 1)] = 10_000


class GatewaySettings(GrpcSettings):
    """The gateway.

    Attributes:
        port: 0 for any free one; the ready file says which.
        processes: processes that share the port (SO_REUSEPORT).
        max_message_mib: largest request and reply, in MiB.
        max_memory_mib: most MiB that the process may have before it refuses calls; None for half of
            the machine's memory, or of its container's, shared by all `processes`.
        max_pending_mib: most MiB of requests at one time, from their arrival to their end; None for
            half of `max_memory_mib`.
        max_unread_mib: most MiB of replies that clients have not taken; None for a quarter of
            `max_memory_mib`.
        max_stream_mib: most MiB of one stream's answers that are not sent; None for a quarter of
            `max_unread_mib`, and at most 256.
        max_calls: most calls at one time.
        max_override_mib: most that the files which come with a wish to load may hold, in MiB.
        max_queue_jobs: most jobs that may wait in one queue; a model's own limit counts if it is
            smaller.
        max_queue_mib: most MiB that the payloads of one version's live jobs may take, but for
            those below 4 KiB.
        lent_payload_mib: most MiB of payloads that stay in this process's memory, where workers on
            the same machine read them; 0 to send each through Redis.
        direct: whether small requests go straight to workers on the same machine that sleep.
        default_timeout_s: for requests whose client and model give no deadline.
        server_name: what ServerMetadata answers; Triton's examples insist on "triton".
        drain_s: how long requests in flight may take to end when the gateway stops.
        shared_port: this is one of several processes on the port.
        metrics: whether they are served over HTTP.
        metrics_host: None for `host`.
        metrics_port: 0 for any free one; None for 8002 if it is free.
        metrics_file: is written, with the address, once metrics are served.
        trace_file: where traces are written, as JSON lines; None to trace nothing.
        allow_client_shm: clients on this machine may pass tensors in POSIX shared memory.
        allow_code_overrides: files that come with a load may be code, as a `.pt2` is.
        idempotency_ttl_s: how long the reply to an idempotency key is kept.
        idempotency_bytes: that all these replies may have on the whole cluster.
    """

    host: str = "127.0.0.1"
    port: Port = 8001
    processes: Count = 1
    max_message_mib: Count = 64
    max_memory_mib: Count | None = None
    max_pending_mib: Count | None = None
    max_unread_mib: Count | None = None
    max_stream_mib: Count | None = None
    max_calls: Count = 20_000
    max_override_mib: Count = 48
    max_queue_jobs: Count = 100_000
    max_queue_mib: Count = 1024
    lent_payload_mib: Annotated[int, Field(ge=0)] = 256
    direct: bool = True
    default_timeout_s: Seconds = 60.0
    server_name: str = "triton"
    drain_s: Annotated[float, Field(ge=0, le=LONGEST_MS / 1000, allow_inf_nan=False)] = 10.0
    shared_port: bool = False
    metrics: bool = True
    metrics_host: str | None = None
    metrics_port: Port | None = None
    metrics_file: Path | None = None
    trace_file: Path | None = None
    allow_client_shm: bool = False
    allow_code_overrides: bool = False
    idempotency_ttl_s: Seconds = 600.0
    idempotency_bytes: Count = 256 * 1024**2


class SchedulerSettings(RoleSettings):
    """The scheduler.

    Attributes:
        models: the model repositories to publish; none when another scheduler does.
        model_control_mode: which models are loaded: all that are there at the start (none), and
            whatever changes later (poll); those that clients load (explicit); or those that
            clients ask for, as long as there is room (on-demand).
        repository_poll_secs: how often the repositories are looked at.
        load_model: models to load at the start, where clients do the rest; "*" for all. On
            demand, these are never unloaded to make room.
        response_cache_bytes: that cached replies may have on the whole cluster; 0 for no cache:
            models that ask for one are refused then.
    """

    models: Repositories = ()
    model_control_mode: ControlMode = "poll"
    repository_poll_secs: Seconds = 2.0
    load_model: Names = ()
    response_cache_bytes: CacheBytes = CACHE_BYTES


class NodeSettings(RoleSettings):
    """The node agent.

    Attributes:
        models: where this machine finds the model repositories.
        node: the node's name; None for the host's.
        threads: computing threads of each CPU worker; None to share the cores evenly.
        memory_mib: of the CPU device; None for what the machine has.
        lease_ms: length of its workers' leases.
        run_limit_s: a batch that runs for longer ends its worker, which is started anew.
        worker_silence_s: a worker without a sign of life for so long is killed, and started anew.
        allow_python_models: Python models may be placed here: the repository's code is run.
        allow_code_overrides: code that came over the network with a load is run here.
    """

    models: Annotated[Repositories, Field(min_length=1)]
    node: str | None = None
    threads: Count | None = None
    memory_mib: Count | None = None
    lease_ms: LeaseMs = LEASE_MS
    run_limit_s: Seconds = RUN_LIMIT_S
    worker_silence_s: Seconds = WORKER_SILENCE_S
    allow_python_models: bool = False
    allow_code_overrides: bool = False


class WorkerSettings(RoleSettings):
    """One worker: one stage of one model version on one device.

    Attributes:
        worker_id: stable over restarts; None to make one up.
        boot_id: new with each start; None to make one up.
        restarts: how often it was started again before.
        fingerprint: of the artifact that the scheduler wants; None for whatever is there.
        generation: of the version's content that it belongs to; None for the published one.
        threads: computing threads; None for the number of cores.
        lease_ms: length of its leases.
        run_limit_s: a batch that runs for longer ends the process.
        heartbeat_fd: file descriptor of a pipe that gets its signs of life; None for none.
        allow_python_models: it may load a Python model: the repository's code is run.
        allow_code_overrides: it may load code that came over the network with a load.
    """

    models: Annotated[Repositories, Field(min_length=1)]
    model: str
    version: Count
    stage: Annotated[int, Field(ge=0)] = 0
    device: Annotated[str, Field(pattern=r"^(cpu|cuda):\d+$")] = "cpu:0"
    worker_id: str | None = None
    boot_id: str | None = None
    restarts: Annotated[int, Field(ge=0)] = 0
    node: str = ""
    fingerprint: str | None = None
    generation: str | None = None
    threads: Count | None = None
    lease_ms: LeaseMs = LEASE_MS
    run_limit_s: Seconds = RUN_LIMIT_S
    heartbeat_fd: Annotated[int, Field(ge=0)] | None = None
    allow_python_models: bool = False
    allow_code_overrides: bool = False


class UpSettings(BaseSettings):
    """Everything on one machine.

    Attributes:
        models, model_control_mode, repository_poll_secs, load_model, response_cache_bytes: as the
            scheduler has them.
        redis: URL of a Redis or Valkey that runs already; None to start an embedded one.
        port: 0 for any free one; the ready file says which.
        processes: gateway processes that share the port.
        metrics: whether they are served over HTTP.
        metrics_host: None for `host`.
        metrics_port: 0 for any free one; None for 8002 if it is free.
        allow_client_shm: clients on this machine may pass tensors in POSIX shared memory.
        allow_python_models: the repository may hold Python models, whose code is run.
        allow_code_overrides: code that comes over the network with a load is run.
        threads: computing threads of each CPU worker; None to share the cores evenly.
        lease_ms: length of the workers' leases.
        run_limit_s, worker_silence_s: as the node has them.
        memory_mib: that workers on the CPU may use in all; None for what the machine has.
        data: where the embedded store keeps its data; None for a place that is removed at the end.
        ready_file: is written, with the gateway's address, once every model that can be ready is.
        log_level: the least level that is shown of all roles.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", protected_namespaces=()
    )

    models: Annotated[Repositories, Field(min_length=1)] = (Path("models"),)
    model_control_mode: ControlMode = "poll"
    repository_poll_secs: Seconds = 2.0
    load_model: Names = ()
    response_cache_bytes: CacheBytes = CACHE_BYTES
    redis: Annotated[str | None, Field(repr=False)] = None
    host: str = "127.0.0.1"
    port: Port = 8001
    processes: Count = 1
    metrics: bool = True
    metrics_host: str | None = None
    metrics_port: Port | None = None
    allow_client_shm: bool = False
    allow_python_models: bool = False
    allow_code_overrides: bool = False
    threads: Count | None = None
    lease_ms: LeaseMs = LEASE_MS
    run_limit_s: Seconds = RUN_LIMIT_S
    worker_silence_s: Seconds = WORKER_SILENCE_S
    memory_mib: Count | None = None
    data: Path | None = None
    ready_file: Path | None = None
    log_level: Level = "warning"


S = TypeVar("S", bound=BaseSettings)


def load(kind: type[S], **options: Any) -> S:
    """The settings of a role; an option of None, or an empty list, was not given.

    Raises:
        InvalidConfiguration: naming the option and the variable that cannot be.
    """
    given = {name: value for name, value in options.items() if value not in (None, [])}
    try:
        return kind(**given)
    except ValidationError as error:
        problems = "; ".join(
            f"{_option(problem['loc'])}: {_reason(problem)}" for problem in error.errors()
        )
        raise InvalidConfiguration(problems) from None


def _option(location: tuple[int | str, ...]) -> str:
    name = str(location[0]) if location else "settings"
    return f"--{name.replace('_', '-')} ({PREFIX}{name.upper()})"


def _reason(problem: ErrorDetails) -> str:
    if problem["type"] == "missing":
        return "is required"
    return redacted(f"{problem['msg']}, not {problem['input']!r}")
