"""The cluster's status as tables that stay readable in 80 columns."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from penstock.language.rebuild import Rebuild
from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.registry.snapshot import state_of

if TYPE_CHECKING:
    from rich.console import RenderableType

_COLOURS = {"READY": "green", "LOADING": "yellow", "UNAVAILABLE": "red"}
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_THOUSAND = 1024
_SECOND_MS = 1000
_TROUBLES = {
    "failed": "failed",
    "expired": "expired",
    "refused_full": "queue full",
    "refused_late": "too late",
    "crashes": "worker crashes",
    "requeued": "requeued",
    "dead": "dead letters",
    "fenced": "stale results",
    "resubmitted": "resubmitted",
}
_RIGHT = {
    *("size", "waiting", "running", "pid", "restarts", "parameters", "bytes", "activations"),
    *("crashes", "prompt tokens", "cached", "generated"),
}


class PlainTable(Table):
    """A table of texts as they are: names and reasons may hold brackets, which are no markup.

    Attributes:
        notes: what is too long for a column, as (what it is about, text); below the table.
    """

    def __init__(self, *columns: Any, **options: Any) -> None:
        super().__init__(*columns, **options)
        self.notes: list[tuple[str, str]] = []

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from super().__rich_console__(console, options)
        for about, text in dict.fromkeys(self.notes):
            yield Text.assemble((about, "bold"), f": {text}", overflow="fold")

    def add_row(self, *cells: "RenderableType | None", **options: Any) -> None:
        """Add one line."""
        plain = (Text(cell) if isinstance(cell, str) else cell for cell in cells)
        super().add_row(*plain, **options)


def models_table(status: pb.StatusResponse) -> Table:
    """One line for each model version: can it answer, with how many workers, and why not."""
    table = plain_table("model", "version", "state", "stages", "workers")
    table.columns[0].ratio = 1
    for version in status.versions:
        workers = sum(_ready(stage) for stage in version.stages)
        wanted = sum(stage.replicas_wanted for stage in version.stages)
        table.add_row(
            version.model,
            str(version.version) if version.version else "-",
            state_text(version.state),
            str(len(version.stages)),
            f"{workers}/{wanted}",
        )
        if version.reason:
            table.notes.append((_named(version), version.reason))
    return table


def _named(version: pb.VersionStatus) -> str:
    return f"{version.model} {version.version}" if version.version else version.model


def batching_table(versions: Iterable[pb.VersionStatus]) -> Table:
    """One line for each version: whether its requests share runs, and why."""
    table = plain_table("version", "batching")
    table.columns[-1].ratio = 1
    for version in versions:
        if version.batching:
            table.add_row(f"{version.model} {version.version}", version.batching)
    return table


def stages_table(status: pb.StatusResponse) -> Table:
    """One line for each stage: what it runs, who runs it, and its jobs, with the oldest's age."""
    table = plain_table("stage", "artifact", "size", "workers", "waiting", "running")
    table.columns[1].ratio = 1
    for version in status.versions:
        for stage in version.stages:
            table.add_row(
                f"{version.model} {version.version}.{stage.index}",
                stage.artifact.rpartition("/")[2],
                size_text(stage.artifact_bytes),
                f"{_ready(stage)}/{stage.replicas_wanted}",
                _jobs(stage.waiting, stage.oldest_waiting_ms),
                _jobs(stage.leases, stage.oldest_lease_ms),
            )
    return table


def workers_table(status: pb.StatusResponse) -> Table:
    """One line for each worker process."""
    table = plain_table("worker", "pid", "device", "state", "restarts")
    table.columns[0].ratio = 1
    for version in status.versions:
        for stage in version.stages:
            for worker in stage.workers:
                name = f"{version.model} {version.version}.{stage.index}"
                table.add_row(
                    name,
                    str(worker.pid or ""),
                    worker.device,
                    state_text(state_of(worker).upper()),
                    str(worker.restarts),
                )
                if worker.reason:
                    table.notes.append((name, worker.reason))
    return table


def counts_table(status: pb.StatusResponse) -> Table:
    """One line for each version with problems: how often what went wrong.

    Columns in which nothing was counted are left out.
    """
    troubled = [v for v in status.versions if any(getattr(v.counts, name) for name in _TROUBLES)]
    names = [name for name in _TROUBLES if any(getattr(v.counts, name) for v in troubled)]
    table = plain_table("version", *(_TROUBLES[name] for name in names))
    for column in table.columns[1:]:
        column.justify = "right"
    for version in troubled:
        counts = (str(getattr(version.counts, name)) for name in names)
        table.add_row(f"{version.model} {version.version}", *counts)
    return table


def processes_table(status: pb.StatusResponse) -> Table:
    """One line for each node, gateway and scheduler."""
    table = plain_table("process", "name", "pid", "details")
    table.columns[-1].ratio = 1
    for node in status.nodes:
        devices = (f"{one.kind}:{one.index} {size_text(one.memory_bytes)}" for one in node.devices)
        table.add_row("node", node.id, str(node.pid), _draining(", ".join(devices), node.draining))
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
    if age_ms < _SECOND_MS:
        return f"{age_ms} ms"
    if age_ms < 100 * _SECOND_MS:
        return f"{age_ms / _SECOND_MS:.1f} s"
    minutes = age_ms // (60 * _SECOND_MS)
    if minutes < 100:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // (24 * 60)} d"


def _jobs(count: int, oldest_ms: int) -> str:
    """How many, and the age of the oldest."""
    return f"{count} ({age_text(oldest_ms)})" if count else "0"


def _ready(stage: pb.StageStatus) -> int:
    return sum(worker.state == pb.WORKER_STATE_READY for worker in stage.workers)


def _draining(text: str, draining: bool) -> str:
    return f"{text} (draining)" if draining else text


def all_tables(status: pb.StatusResponse) -> "Iterable[RenderableType]":
    """The whole status."""
    yield from titled("Processes", processes_table(status))
    yield from titled("Models", models_table(status))
    yield from titled("Batching", batching_table(status.versions))
    yield from titled("Tokens", tokens_table(status.versions))
    yield from titled("Lost caches", rebuilds_table(status.versions))
    yield from titled("Stages", stages_table(status))
    yield from titled("Workers", workers_table(status))
    yield from titled("Problems", counts_table(status))


def tokens_table(versions: Iterable[pb.VersionStatus]) -> Table:
    """One line for each language model that was asked: tokens, and how many of them were cached."""
    table = plain_table("version", "prompt tokens", "cached", "generated")
    for version in versions:
        counts = version.counts
        if counts.prompt_tokens or counts.generated_tokens:
            numbers = counts.prompt_tokens, counts.cached_tokens, counts.generated_tokens
            table.add_row(f"{version.model} {version.version}", *map(str, numbers))
    return table


def rebuilds_table(versions: Iterable[pb.VersionStatus]) -> Table:
    """One line for each kind of worker of a language model: how a cache comes back there."""
    table = plain_table("version", "come back by", "workers", "on")
    table.columns[-1].ratio = 1
    for version in versions:
        workers = [worker for stage in version.stages for worker in stage.workers]
        kinds = Counter((one.rebuild, one.numeric_domain) for one in workers if one.rebuild)
        for (rebuild, where), count in sorted(kinds.items()):
            said = Text(rebuild, style="yellow" if rebuild == Rebuild.NONE else "green")
            table.add_row(f"{version.model} {version.version}", said, str(count), where)
    return table


def letters_table(letters: Iterable[pb.DeadLetter], now_ms: float) -> Table:
    """One line for each dead letter."""
    table = plain_table("job", "stage", "dead since", "crashes", "size")
    for letter in letters:
        table.add_row(
            letter.job,
            _stage_of(letter),
            age_text(max(0, int(now_ms - letter.time_ms))),
            str(letter.crashes),
            _carried(letter),
        )
    return table


def letter_table(letter: pb.DeadLetter) -> Table:
    """All that is known of one dead letter."""
    table = PlainTable(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_row("job", letter.job)
    table.add_row("stage", _stage_of(letter))
    table.add_row("dead since", _time(letter.time_ms))
    if letter.accepted_ms:
        table.add_row("accepted", _time(letter.accepted_ms))
    table.add_row("crashes", f"{letter.crashes}, the last of worker {letter.worker}")
    table.add_row("client's id", letter.request_id or "none")
    table.add_row("payload", _carried(letter))
    for tensor in letter.inputs:
        table.add_row(f"input {tensor.name}", f"{tensor.datatype} {list(tensor.shape)}")
    return table


def _stage_of(letter: pb.DeadLetter) -> str:
    return f"{letter.model} {letter.version}.{letter.stage}"


def _carried(letter: pb.DeadLetter) -> str:
    return size_text(letter.payload_bytes) if letter.HasField("payload_bytes") else "not kept"


def _time(time_ms: int) -> str:
    when = datetime.fromtimestamp(time_ms / 1000, tz=UTC)
    return when.strftime("%Y-%m-%d %H:%M:%S UTC")
