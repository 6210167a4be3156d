"""The cluster's status as tables that stay readable in 80 columns."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from rich import box
from rich.table import Table
from rich.text import Text

from penstock.protos import cluster_pb2 as pb

if TYPE_CHECKING:
    from rich.console import RenderableType

_COLOURS = {"READY": "green", "LOADING": "yellow", "UNAVAILABLE": "red"}
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_THOUSAND = 1024
_SECOND_MS = 1000
_RIGHT = {"size", "waiting", "oldest", "pid", "restarts", "parameters", "bytes", "hands on"}


class PlainTable(Table):
    """A table of texts as they are: names and reasons may hold brackets, which are no markup."""

    def add_row(self, *cells: "RenderableType | None", **options: Any) -> None:
        """Add one line."""
        plain = (Text(cell) if isinstance(cell, str) else cell for cell in cells)
        super().add_row(*plain, **options)


def models_table(status: pb.StatusResponse) -> Table:
    """One line for each model version: can it answer, with how many workers, and why not."""
    table = plain_table("model", "version", "state", "stages", "workers", "reason")
    table.columns[-1].ratio = 1
    for version in status.versions:
        workers = sum(_ready(stage) for stage in version.stages)
        wanted = sum(stage.replicas_wanted for stage in version.stages)
        table.add_row(
            version.model,
            str(version.version) if version.version else "-",
            state_text(version.state),
            str(len(version.stages)),
            f"{workers}/{wanted}",
            version.reason,
        )
    return table


def stages_table(status: pb.StatusResponse) -> Table:
    """One line for each stage: what it runs, who runs it, and what waits for it."""
    table = plain_table("stage", "artifact", "size", "workers", "waiting", "oldest")
    table.columns[1].ratio = 1
    for version in status.versions:
        for stage in version.stages:
            table.add_row(
                f"{version.model} {version.version}.{stage.index}",
                stage.artifact.rpartition("/")[2],
                size_text(stage.artifact_bytes),
                f"{_ready(stage)}/{stage.replicas_wanted}",
                str(stage.waiting),
                age_text(stage.oldest_waiting_ms) if stage.waiting else "",
            )
    return table


def workers_table(status: pb.StatusResponse) -> Table:
    """One line for each worker process."""
    table = plain_table("worker", "pid", "device", "state", "restarts", "reason")
    table.columns[-1].ratio = 1
    for version in status.versions:
        for stage in version.stages:
            for worker in stage.workers:
                state = pb.WorkerState.Name(worker.state).removeprefix("WORKER_STATE_")
                table.add_row(
                    f"{version.model} {version.version}.{stage.index}",
                    str(worker.pid or ""),
                    worker.device,
                    state_text(state),
                    str(worker.restarts),
                    worker.reason,
                )
    return table


def processes_table(status: pb.StatusResponse) -> Table:
    """One line for each node, gateway and scheduler."""
    table = plain_table("process", "name", "pid", "what")
    table.columns[-1].ratio = 1
    for node in status.nodes:
        devices = ", ".join(_device(device) for device in node.devices)
        table.add_row("node", node.id, str(node.pid), _draining(devices, node.draining))
    for gateway in status.gateways:
        where = _draining(gateway.address, gateway.draining)
        table.add_row("gateway", gateway.id, str(gateway.pid), where)
    for scheduler in status.schedulers:
        table.add_row("scheduler", scheduler.id, str(scheduler.pid), "")
    return table


def plain_table(*columns: str) -> PlainTable:
    """An empty table, the same everywhere."""
    table = PlainTable(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        justify: Literal["right", "left"] = "right" if column in _RIGHT else "left"
        table.add_column(column, justify=justify, overflow="fold")
    return table


def titled(title: str, table: Table) -> "Sequence[RenderableType]":
    """A table below its title; nothing at all when it has no rows."""
    return (Text(title, style="bold"), table, "") if table.row_count else ()


def state_text(state: str) -> Text:
    """A state in its colour."""
    return Text(state, style=_COLOURS.get(state, "yellow"))


def size_text(size: float) -> str:
    """Bytes, for people."""
    if size < _THOUSAND:
        return f"{size:.0f} {_UNITS[0]}"
    for unit in _UNITS[1:-1]:
        size /= _THOUSAND
        if round(size, 1) < _THOUSAND:
            return f"{size:.1f} {unit}"
    return f"{size / _THOUSAND:.1f} {_UNITS[-1]}"


def age_text(age_ms: int) -> str:
    """A duration, for people."""
    return f"{age_ms} ms" if age_ms < _SECOND_MS else f"{age_ms / _SECOND_MS:.1f} s"


def _ready(stage: pb.StageStatus) -> int:
    return sum(worker.state == pb.WORKER_STATE_READY for worker in stage.workers)


def _device(device: pb.Device) -> str:
    return f"{device.kind}:{device.index} {size_text(device.memory_bytes)}"


def _draining(text: str, draining: bool) -> str:
    return f"{text} (draining)" if draining else text


def all_tables(status: pb.StatusResponse) -> "Iterable[RenderableType]":
    """The whole status."""
    yield from titled("Processes", processes_table(status))
    yield from titled("Models", models_table(status))
    yield from titled("Stages", stages_table(status))
    yield from titled("Workers", workers_table(status))
