"""Settings: read once at the edge from options and ``PENSTOCK_*`` variables, and then only passed.

Each role has one value. An option of the command line wins over the environment's variable of the
same name (``--default-timeout-s`` and ``PENSTOCK_DEFAULT_TIMEOUT_S``), which wins over the
default. Nonsense is refused by the variable's name (`load`).
"""

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from penstock.errors import InvalidConfiguration

PREFIX = "PENSTOCK_"

LEASE_MS = 5000
"""How long a worker may be silent before others get its jobs."""

Port = Annotated[int, Field(ge=0, le=65535)]
Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
LeaseMs = Annotated[int, Field(ge=200)]
Level = Literal["debug", "info", "warning", "error"]


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

    redis: str
    log_level: Level = "info"
    log_json: bool = False
    ready_file: Path | None = None
    parent_pid: int | None = None


class GatewaySettings(RoleSettings):
    """The gateway.

    Attributes:
        port: 0 for any free one; the ready file says which.
        processes: processes that share the port (SO_REUSEPORT).
        max_message_mib: largest request and reply, in MiB.
        default_timeout_s: for requests whose client and model give no deadline.
        server_name: what ServerMetadata answers; Triton's examples insist on "triton".
        drain_s: how long requests in flight may take to end when the gateway stops.
        shared_port: this is one of several processes on the port.
    """

    host: str = "127.0.0.1"
    port: Port = 8001
    processes: Count = 1
    max_message_mib: Count = 64
    default_timeout_s: Seconds = 60.0
    server_name: str = "triton"
    drain_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 10.0
    shared_port: bool = False


class SchedulerSettings(RoleSettings):
    """The scheduler.

    Attributes:
        models: the model repository to publish; None when another scheduler does.
        poll_s: how often the repository is looked at.
    """

    models: Path | None = None
    poll_s: Seconds = 2.0


class NodeSettings(RoleSettings):
    """The node agent.

    Attributes:
        models: where this machine finds the model repository.
        node: the node's name; None for the host's.
        threads: computing threads of each CPU worker; None to share the cores evenly.
        memory_mib: of the CPU device; None for what the machine has.
        lease_ms: length of its workers' leases.
    """

    models: Path
    node: str | None = None
    threads: Count | None = None
    memory_mib: Count | None = None
    lease_ms: LeaseMs = LEASE_MS


class WorkerSettings(RoleSettings):
    """One worker: one stage of one model version on one device.

    Attributes:
        worker_id: stable over restarts; None to make one up.
        boot_id: new with each start; None to make one up.
        restarts: how often it was started again before.
        fingerprint: of the artifact that the scheduler wants; None for whatever is there.
        threads: computing threads; None for the number of cores.
        lease_ms: length of its leases.
    """

    models: Path
    model: str
    version: Count
    stage: Annotated[int, Field(ge=0)] = 0
    device: Annotated[str, Field(pattern=r"^(cpu|cuda):\d+$")] = "cpu:0"
    worker_id: str | None = None
    boot_id: str | None = None
    restarts: Annotated[int, Field(ge=0)] = 0
    node: str = ""
    fingerprint: str | None = None
    threads: Count | None = None
    lease_ms: LeaseMs = LEASE_MS


class UpSettings(BaseSettings):
    """Everything on one machine.

    Attributes:
        redis: URL of a Redis or Valkey that runs already; None to start an embedded one.
        port: 0 for any free one; the ready file says which.
        processes: gateway processes that share the port.
        threads: computing threads of each CPU worker; None to share the cores evenly.
        lease_ms: length of the workers' leases.
        data: where the embedded store keeps its data; None for a place that is removed at the end.
        ready_file: is written, with the gateway's address, once every model that can be ready is.
        log_level: the least level that is shown of all roles.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", protected_namespaces=()
    )

    models: Path = Path("models")
    redis: str | None = None
    host: str = "127.0.0.1"
    port: Port = 8001
    processes: Count = 1
    threads: Count | None = None
    lease_ms: LeaseMs = LEASE_MS
    data: Path | None = None
    ready_file: Path | None = None
    log_level: Level = "warning"


S = TypeVar("S", bound=BaseSettings)


def load(kind: type[S], **options: Any) -> S:
    """The settings of a role; an option of None was not given.

    Raises:
        InvalidConfiguration: naming the option and the variable that cannot be.
    """
    given = {name: value for name, value in options.items() if value is not None}
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
    return f"{problem['msg']}, not {problem['input']!r}"
