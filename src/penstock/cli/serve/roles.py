"""The commands that run one role each: gateway, scheduler, node, worker.

Their options are the fields of `penstock.settings`; one that is not given is read from
``PENSTOCK_*``, and has its default there.
"""

import asyncio
import os
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from penstock.process.lifetime import end_process

if TYPE_CHECKING:
    from penstock.settings import RoleSettings

S = TypeVar("S", bound="RoleSettings")
T = TypeVar("T")

Redis = Annotated[
    str | None,
    typer.Option(
        help="Redis or Valkey: redis://, rediss://, unix://, redis+sentinel:// or "
        "redis+cluster://. Required, unless PENSTOCK_REDIS is set.",
        metavar="URL",
        show_default=False,
    ),
]
Models = Annotated[
    list[Path] | None,
    typer.Option(
        help="The model repository; may be given several times.", metavar="DIR", show_default=False
    ),
]
ControlMode = Annotated[
    str | None,
    typer.Option(
        metavar="MODE",
        help="Which models are loaded. none: all that are there at the start. poll: those, and "
        "whatever changes. explicit: those that clients load. on-demand: those that clients ask "
        "for; idle ones make room. (default: poll)",
    ),
]
PollSecs = Annotated[
    float | None, typer.Option(help="How often DIR is looked at, in seconds. (default: 2)")
]
LoadModel = Annotated[
    list[str] | None,
    typer.Option(
        metavar="MODEL",
        help="With explicit and on-demand: load it at the start; '*' for all. May be given "
        "several times.",
    ),
]
ResponseCacheBytes = Annotated[
    int | None,
    typer.Option(
        metavar="BYTES",
        help="Of cached replies on the whole cluster, for models with response_cache. 0: such "
        "models are refused. (default: 64 MiB)",
    ),
]
MemoryMib = Annotated[
    int | None, typer.Option(help="Of the CPU device. (default: what the machine has)")
]
LeaseMs = Annotated[
    int | None,
    typer.Option(help="How long a silent worker keeps its jobs; 200 or more. (default: 5000)"),
]
RunLimitS = Annotated[
    float | None,
    typer.Option(
        help="A batch that runs for longer ends its worker, which is started again. (default: 600)"
    ),
]
WorkerSilenceS = Annotated[
    float | None,
    typer.Option(
        help="A worker that gives no sign of life for longer is killed and started again. "
        "(default: 60)"
    ),
]
LogLevel = Annotated[
    str | None, typer.Option(help="debug, info, warning or error. (default: info)")
]
LogJson = Annotated[bool | None, typer.Option("--log-json", help="Log JSON lines.")]
ReadyFile = Annotated[
    Path | None, typer.Option(help="Written once this role serves.", metavar="FILE")
]
Metrics = Annotated[
    bool | None,
    typer.Option("--metrics/--no-metrics", help="Serve metrics over HTTP. (default: yes)"),
]
MetricsHost = Annotated[
    str | None, typer.Option(help="Address of the metrics. (default: that of --host)")
]
MetricsPort = Annotated[
    int | None, typer.Option(help="0 takes any free one. (default: 8002, if it is free)")
]
AllowClientShm = Annotated[
    str | None,
    typer.Option(help="true: clients here may use shared memory. (default: false)", metavar="BOOL"),
]
AllowPythonModels = Annotated[
    bool | None,
    typer.Option(
        "--allow-python-models",
        help="Run Python models: code that the model repository holds. (default: no)",
    ),
]
AllowCodeOverrides = Annotated[
    bool | None,
    typer.Option(
        "--allow-code-overrides",
        help="Take code, such as .pt2, that comes over the network with a load. (default: no)",
    ),
]
ParentPid = Annotated[int | None, typer.Option(help="End when this process does.", metavar="PID")]


def gateway(
    *,
    redis: Redis = None,
    host: Annotated[
        str | None, typer.Option(help="Address to serve at. (default: 127.0.0.1)")
    ] = None,
    port: Annotated[int | None, typer.Option(help="0 takes any free one. (default: 8001)")] = None,
    processes: Annotated[
        int | None, typer.Option(help="Processes that share the port. (default: 1)")
    ] = None,
    max_message_mib: Annotated[
        int | None, typer.Option(help="Largest request and reply. (default: 64)")
    ] = None,
    max_memory_mib: Annotated[
        int | None,
        typer.Option(
            help="Memory from which on calls are refused. (default: half of the machine's or "
            "container's, shared by all processes)"
        ),
    ] = None,
    max_pending_mib: Annotated[
        int | None,
        typer.Option(help="Most of requests at one time. (default: half of --max-memory-mib)"),
    ] = None,
    max_unread_mib: Annotated[
        int | None,
        typer.Option(
            help="Most of replies that clients have not taken. (default: a quarter of "
            "--max-memory-mib)"
        ),
    ] = None,
    max_stream_mib: Annotated[
        int | None,
        typer.Option(
            help="Most of one stream's unsent answers. (default: a quarter of --max-unread-mib, "
            "at most 256)"
        ),
    ] = None,
    max_calls: Annotated[
        int | None, typer.Option(help="Most calls at one time. (default: 20000)")
    ] = None,
    max_connections: Annotated[
        int | None,
        typer.Option(help="Most connections, if descriptors suffice. (default: 10000)"),
    ] = None,
    max_override_mib: Annotated[
        int | None,
        typer.Option(help="Most that files given to load a model may hold. (default: 48)"),
    ] = None,
    max_queue_jobs: Annotated[
        int | None, typer.Option(help="Most jobs that wait in one queue. (default: 100000)")
    ] = None,
    max_queue_mib: Annotated[
        int | None, typer.Option(help="Most that a version's live requests take. (default: 1024)")
    ] = None,
    lent_payload_mib: Annotated[
        int | None,
        typer.Option(
            help="Most of large requests that workers on this machine read from the gateway's "
            "memory; 0 sends all through Redis. (default: 256)"
        ),
    ] = None,
    direct: Annotated[
        bool | None,
        typer.Option(
            "--direct/--no-direct",
            help="Small requests go straight to workers on this machine that sleep, or through "
            "Redis as all others. (default: --direct)",
        ),
    ] = None,
    default_timeout_s: Annotated[
        float | None, typer.Option(help="For requests without a deadline. (default: 60)")
    ] = None,
    server_name: Annotated[
        str | None, typer.Option(help="What ServerMetadata answers. (default: triton)")
    ] = None,
    drain_s: Annotated[
        float | None, typer.Option(help="Time for requests in flight at the end. (default: 10)")
    ] = None,
    grpc_infer_response_compression_level: Annotated[
        str | None, typer.Option(help="none, low, medium or high. (default: none)")
    ] = None,
    grpc_restricted_protocol: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PROTOCOLS:KEY=VALUE",
            help="Calls of these need the header triton-grpc-protocol-KEY. May be repeated.",
        ),
    ] = None,
    grpc_keepalive_time: Annotated[
        int | None, typer.Option(help="ms of silence before the server pings. (default: 7200000)")
    ] = None,
    grpc_keepalive_timeout: Annotated[
        int | None, typer.Option(help="ms that it waits for an answer. (default: 20000)")
    ] = None,
    grpc_keepalive_permit_without_calls: Annotated[
        str | None, typer.Option(help="true: also without calls. (default: true)", metavar="BOOL")
    ] = None,
    grpc_http2_max_pings_without_data: Annotated[
        int | None, typer.Option(help="0 for any number. (default: 2)")
    ] = None,
    grpc_http2_min_recv_ping_interval_without_data: Annotated[
        int | None, typer.Option(help="ms between clients' pings. (default: 1000)")
    ] = None,
    grpc_http2_max_ping_strikes: Annotated[
        int | None,
        typer.Option(help="Early pings before a client is cut off; 0 for any. (default: 0)"),
    ] = None,
    grpc_max_connection_age: Annotated[int | None, typer.Option(help="ms. (default: any)")] = None,
    grpc_max_connection_age_grace: Annotated[
        int | None, typer.Option(help="ms for its calls. (default: any)")
    ] = None,
    grpc_max_connection_idle: Annotated[
        int | None, typer.Option(help="ms without a call. (default: any)")
    ] = None,
    grpc_max_concurrent_streams: Annotated[
        int | None, typer.Option(help="Most calls of a connection at a time. (default: 512)")
    ] = None,
    metrics: Metrics = None,
    metrics_host: MetricsHost = None,
    metrics_port: MetricsPort = None,
    metrics_file: Annotated[
        Path | None, typer.Option(help="Written once metrics are served.", metavar="FILE")
    ] = None,
    trace_file: Annotated[
        Path | None, typer.Option(help="Where traces go, as JSON lines.", metavar="FILE")
    ] = None,
    allow_client_shm: AllowClientShm = None,
    allow_code_overrides: AllowCodeOverrides = None,
    idempotency_ttl_s: Annotated[
        float | None,
        typer.Option(help="How long replies to idempotency keys are kept. (default: 600)"),
    ] = None,
    idempotency_bytes: Annotated[
        int | None,
        typer.Option(help="Of these replies, on the whole cluster. (default: 256 MiB)"),
    ] = None,
    log_level: LogLevel = None,
    log_json: LogJson = None,
    ready_file: ReadyFile = None,
    parent_pid: ParentPid = None,
) -> None:
    """Run a gateway: the gRPC server that clients talk to. Any number may run, all equal."""
    options = locals()
    from penstock.process.redaction import keep_secret
    from penstock.settings import GatewaySettings

    settings = _begin("gateway", GatewaySettings, options)
    keep_secret(*(rule.partition("=")[2] for rule in settings.grpc_restricted_protocol))
    from penstock.gateway.app import run

    _run(run(settings))
    end_process()


def scheduler(
    *,
    redis: Redis = None,
    models: Models = None,
    model_control_mode: ControlMode = None,
    repository_poll_secs: PollSecs = None,
    load_model: LoadModel = None,
    response_cache_bytes: ResponseCacheBytes = None,
    log_level: LogLevel = None,
    log_json: LogJson = None,
    ready_file: ReadyFile = None,
    parent_pid: ParentPid = None,
) -> None:
    """Run a scheduler: it publishes a model repository and places its shards on nodes."""
    options = locals()
    from penstock.settings import SchedulerSettings

    settings = _begin("scheduler", SchedulerSettings, options)
    from penstock.scheduler.app import run

    _run(run(settings))
    end_process()


def node(
    *,
    redis: Redis = None,
    models: Models = None,
    node: Annotated[str | None, typer.Option(help="The node's name. (default: the host's)")] = None,
    threads: Annotated[
        int | None,
        typer.Option(help="Threads of each CPU worker. (default: cores shared evenly)"),
    ] = None,
    memory_mib: MemoryMib = None,
    lease_ms: LeaseMs = None,
    run_limit_s: RunLimitS = None,
    worker_silence_s: WorkerSilenceS = None,
    allow_python_models: AllowPythonModels = None,
    allow_code_overrides: AllowCodeOverrides = None,
    log_level: LogLevel = None,
    log_json: LogJson = None,
    ready_file: ReadyFile = None,
    parent_pid: ParentPid = None,
) -> None:
    """Run this machine's agent: it starts and watches the workers that are placed here."""
    options = locals()
    from penstock.settings import NodeSettings

    settings = _begin("node", NodeSettings, options)
    from penstock.workers.node.agent import run

    _run(run(settings))
    end_process()


def worker(
    *,
    redis: Redis = None,
    models: Models = None,
    model: Annotated[str | None, typer.Option(help="The model's name.")] = None,
    version: Annotated[int | None, typer.Option(help="Its version.")] = None,
    stage: Annotated[
        int | None, typer.Option(help="The shard's place in the pipeline. (default: 0)")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu:0, cuda:0, cuda:1 ... (default: cpu:0)")
    ] = None,
    worker_id: Annotated[str | None, typer.Option(help="The same over restarts.")] = None,
    boot_id: Annotated[str | None, typer.Option(help="New with each start.")] = None,
    restarts: Annotated[int | None, typer.Option(help="How often it was started again.")] = None,
    node: Annotated[str | None, typer.Option(help="The node that it belongs to.")] = None,
    fingerprint: Annotated[
        str | None, typer.Option(help="Of the artifact that must be loaded.")
    ] = None,
    generation: Annotated[
        str | None, typer.Option(help="Of the version's content. (default: the published one)")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="Computing threads. (default: one for each core)")
    ] = None,
    lease_ms: LeaseMs = None,
    run_limit_s: RunLimitS = None,
    heartbeat_fd: Annotated[
        int | None, typer.Option(help="A pipe that gets a byte each second.", metavar="FD")
    ] = None,
    allow_python_models: AllowPythonModels = None,
    allow_code_overrides: AllowCodeOverrides = None,
    log_level: LogLevel = None,
    log_json: LogJson = None,
    ready_file: ReadyFile = None,
    parent_pid: ParentPid = None,
) -> None:
    """Run one worker: one shard on one device. Exit status 3: the shard cannot be loaded."""
    options = locals()
    from penstock.settings import WorkerSettings

    settings = _begin("worker", WorkerSettings, options)
    from penstock.workers.app import run

    status = _run(run(settings))
    if settings.allow_python_models:
        # Models' code may have left something for the interpreter's end.
        raise typer.Exit(status)
    end_process(status=status)


def _begin(role: str, kind: "type[S]", options: dict[str, Any]) -> "S":
    """Read the settings and take up the role's life; *options* are named like the settings."""
    from penstock.bound import die_with_parent
    from penstock.process.child_process import forget_secrets
    from penstock.process.heap import keep_freed_memory
    from penstock.process.redaction import keep_password
    from penstock.settings import load
    from penstock.telemetry import configure_logging

    settings = load(kind, **options)
    die_with_parent(settings.parent_pid)
    keep_freed_memory()
    configure_logging(role, level=settings.log_level, json_lines=settings.log_json)
    # Facts of this process alone: what it starts must not take them over.
    for name in ("PENSTOCK_READY_FILE", "PENSTOCK_PARENT_PID", "PENSTOCK_HEARTBEAT_FD"):
        os.environ.pop(name, None)
    forget_secrets()
    keep_password(settings.redis)
    return settings


def _run(main: Coroutine[Any, Any, T]) -> T:
    try:
        import uvloop
    except ModuleNotFoundError:
        return asyncio.run(main)
    answer: T = uvloop.run(main)
    return answer
