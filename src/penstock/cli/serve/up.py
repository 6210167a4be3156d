"""``penstock up``: everything on this machine, until Ctrl-C."""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from penstock.cli.serve.roles import (
    AllowClientShm,
    AllowCodeOverrides,
    AllowPythonModels,
    ControlMode,
    LoadModel,
    MemoryMib,
    Metrics,
    MetricsHost,
    MetricsPort,
    PollSecs,
    ResponseCacheBytes,
    RunLimitS,
    WorkerSilenceS,
)
from penstock.errors import InvalidConfiguration

if TYPE_CHECKING:
    from rich.console import Console

    from penstock.cli.serve.local_cluster import LocalCluster
    from penstock.protos import cluster_pb2
    from penstock.settings import UpSettings


def up(
    *,
    models: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR",
            help="The model repository; may be given several times. (default: models)",
        ),
    ] = None,
    model_control_mode: ControlMode = None,
    repository_poll_secs: PollSecs = None,
    load_model: LoadModel = None,
    response_cache_bytes: ResponseCacheBytes = None,
    redis: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="A Redis or Valkey that runs already. (default: start one)"
        ),
    ] = None,
    port: Annotated[int | None, typer.Option(help="0 takes any free one. (default: 8001)")] = None,
    host: Annotated[
        str | None, typer.Option(help="Address to serve at. (default: 127.0.0.1)")
    ] = None,
    processes: Annotated[
        int | None, typer.Option(help="Gateway processes that share the port. (default: 1)")
    ] = None,
    metrics: Metrics = None,
    metrics_host: MetricsHost = None,
    metrics_port: MetricsPort = None,
    allow_client_shm: AllowClientShm = None,
    allow_python_models: AllowPythonModels = None,
    allow_code_overrides: AllowCodeOverrides = None,
    threads: Annotated[
        int | None,
        typer.Option(
            "--threads",
            help="Threads of each CPU worker. (default: cores shared evenly)",
        ),
    ] = None,
    lease_ms: Annotated[
        int | None,
        typer.Option(help="How long a silent worker keeps its jobs; 200 or more. (default: 5000)"),
    ] = None,
    run_limit_s: RunLimitS = None,
    worker_silence_s: WorkerSilenceS = None,
    memory_mib: MemoryMib = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Keep the queue here. (default: removed at the end)"),
    ] = None,
    ready_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Written, with the address, once all is ready."),
    ] = None,
    log_level: Annotated[
        str | None,
        typer.Option(help="debug, info, warning or error, of all roles. (default: warning)"),
    ] = None,
) -> None:
    """Run everything on this machine: store, scheduler, node with its workers, gateway.

    Ctrl-C stops all of it in order and loses nothing; a second Ctrl-C stops it at once.
    """
    options = locals()
    from penstock.process.lifetime import end_process
    from penstock.process.redaction import keep_password
    from penstock.settings import UpSettings, load
    from penstock.telemetry import configure_logging

    settings = load(UpSettings, **options)
    keep_password(settings.redis)
    _check_models(settings.models)
    configure_logging("up", level=settings.log_level)
    asyncio.run(_Up(settings).run())
    end_process()


def _check_models(models: Sequence[Path]) -> None:
    for repository in models:
        if not repository.is_dir():
            raise InvalidConfiguration(
                f"there is no model repository at {repository}: name one with --models DIR "
                "(from a checkout of Penstock, try --models examples/digits/models)"
            )


class _Up:
    """One run of the command, and what it shows."""

    def __init__(self, settings: "UpSettings") -> None:
        from rich.console import Console

        self._settings = settings
        self._out = Console(highlight=False)
        self._started = time.monotonic()

    async def run(self) -> None:
        from penstock.cli.serve.local_cluster import LocalCluster
        from penstock.process.lifetime import kill_descendants, stop_signals

        async with stop_signals(lambda: kill_descendants(os.getpid())) as stop:
            async with LocalCluster(self._settings, _say) as cluster:
                serving = asyncio.create_task(self._serve(cluster))
                tasks = [
                    serving,
                    asyncio.create_task(cluster.failed()),
                    asyncio.create_task(stop.wait()),
                ]
                try:
                    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                    for task in done:
                        task.result()
                    self._out.print("Stopping: requests in flight are answered first ...")
                finally:
                    for task in tasks:
                        task.cancel()
                    await asyncio.gather(*tasks, return_exceptions=True)
            self._out.print("Stopped.")

    async def _serve(self, cluster: "LocalCluster") -> None:
        """Show how the cluster becomes ready, say so, and then wait for ever."""
        from penstock.cli.serve.readiness import expected_versions, progress, settled
        from penstock.process.lifetime import write_ready

        expected = await asyncio.to_thread(expected_versions, self._settings)
        with self._shown(len(expected)) as show:
            address = await cluster.address()
            async with contextlib.aclosing(progress(reachable(address))) as answers:
                async for status in answers:
                    show(status)
                    if settled(status, expected):
                        break
        self._report(address, cluster.metrics_address(), status)
        # Whoever waits for the file may read what was written.
        write_ready(self._settings.ready_file, address)
        await asyncio.Event().wait()

    @contextlib.contextmanager
    def _shown(self, total: int) -> "Iterator[Any]":
        if self._out.is_terminal:
            with _bar(self._out, total) as show:
                yield show
        else:
            yield _Lines(self._out).show

    def _report(
        self, address: str, metrics: str | None, status: "cluster_pb2.StatusResponse"
    ) -> None:
        from penstock.cli.tables import models_table

        seconds = time.monotonic() - self._started
        self._out.print(f"\nPenstock serves at [bold]{address}[/] (ready in {seconds:.1f} s)")
        if metrics:
            self._out.print(f"Metrics at http://{reachable(metrics)}/metrics")
        self._out.print()
        if status.versions:
            self._out.print(models_table(status))
        else:
            self._out.print(self._nothing_served(), markup=False, soft_wrap=True)
        url = "" if reachable(address) == "127.0.0.1:8001" else f" --url {reachable(address)}"
        self._out.print("\nNext, in another terminal:", f"  penstock status{url}", sep="\n")
        ready = [version for version in status.versions if version.state == "READY"]
        if ready:
            self._out.print(f"  penstock bench {ready[0].model}{url}", markup=False)
        self._out.print("Ctrl-C stops everything.\n")

    def _nothing_served(self) -> str:
        if self._settings.model_control_mode == "on-demand":
            return "No model is loaded yet: the first request for one loads it"
        if self._settings.model_control_mode == "explicit":
            return "No model is loaded yet: load one with 'penstock models load MODEL'"
        models = self._settings.models[0]
        return (
            f"{models} holds no model yet: put one at {models}/NAME/1/model.onnx; "
            "it is found while this runs"
        )


class _Lines:
    """Progress for a file or a pipe: a line for each change."""

    def __init__(self, out: "Console") -> None:
        self._out = out
        self._seen: dict[tuple[str, int], str] = {}

    def show(self, status: "cluster_pb2.StatusResponse") -> None:
        for version in status.versions:
            key = (version.model, version.version)
            if self._seen.get(key) != version.state:
                self._seen[key] = version.state
                seen = f"{version.model} version {version.version}: {version.state}"
                if version.state == "UNAVAILABLE":
                    seen += f": {version.reason}"
                self._out.print(seen, markup=False, soft_wrap=True)


@contextlib.contextmanager
def _bar(out: "Console", total: int) -> "Iterator[Any]":
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=out, transient=True) as bar:
        task = bar.add_task("starting", total=max(1, total))

        def show(status: "cluster_pb2.StatusResponse") -> None:
            done = [v for v in status.versions if v.state != "LOADING"]
            waiting = [f"{v.model} {v.version}" for v in status.versions if v.state == "LOADING"]
            text = f"loading {', '.join(waiting[:3])}" if waiting else "starting"
            bar.update(task, completed=len(done), total=max(1, total), description=text)

        yield show


def reachable(address: str) -> str:
    """Where clients on this machine find a server that listens at *address*."""
    host, _, port = address.rpartition(":")
    return f"127.0.0.1:{port}" if host in {"0.0.0.0", "[::]", "::"} else address  # noqa: S104


def _say(role: str, line: str) -> None:
    print(f"{role:<9} | {line}", file=sys.stderr, flush=True)
