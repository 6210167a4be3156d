"""What ``penstock up`` shows: how all roles become ready, and how they stop."""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from penstock.cli.serve.local_cluster import LocalCluster
from penstock.cli.serve.readiness import expected_versions, progress, settled
from penstock.cli.tables import models_table
from penstock.process.lifetime import kill_descendants, stop_signals, write_ready
from penstock.protos import cluster_pb2 as pb
from penstock.settings import UpSettings


class Screen:
    """One run of ``penstock up``."""

    def __init__(self, settings: UpSettings) -> None:
        self._settings = settings
        self._out = Console(highlight=False)
        self._started = time.monotonic()

    async def run(self) -> None:
        """Run the cluster until told to stop, or until a role refuses to begin.

        Raises:
            RoleFailed: it does.
        """
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

    async def _serve(self, cluster: LocalCluster) -> None:
        """Show how the cluster becomes ready, say so, and then wait for ever."""
        expected = await asyncio.to_thread(expected_versions, self._settings)
        with self._shown(len(expected)) as show:
            address = await cluster.address()
            async with contextlib.aclosing(progress(reachable(address))) as answers:
                async for status in answers:
                    show(status)
                    if settled(status, expected):
                        break
        self._report(address, cluster, status)
        # Whoever waits for the file may read what was written.
        write_ready(self._settings.ready_file, address)
        await asyncio.Event().wait()

    @contextlib.contextmanager
    def _shown(self, total: int) -> Iterator[Any]:
        if self._out.is_terminal:
            with _bar(self._out, total) as show:
                yield show
        else:
            yield _Lines(self._out).show

    def _report(self, address: str, cluster: LocalCluster, status: pb.StatusResponse) -> None:
        http, metrics = cluster.address_of("http"), cluster.address_of("metrics")
        seconds = time.monotonic() - self._started
        self._out.print(f"\nPenstock serves at [bold]{address}[/] (ready in {seconds:.1f} s)")
        if http:
            self._out.print(f"HTTP at http://{reachable(http)}")
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

    def __init__(self, out: Console) -> None:
        self._out = out
        self._seen: dict[tuple[str, int], str] = {}

    def show(self, status: pb.StatusResponse) -> None:
        for version in status.versions:
            key = (version.model, version.version)
            if self._seen.get(key) != version.state:
                self._seen[key] = version.state
                seen = f"{version.model} version {version.version}: {version.state}"
                if version.state == "UNAVAILABLE":
                    seen += f": {version.reason}"
                self._out.print(seen, markup=False, soft_wrap=True)


@contextlib.contextmanager
def _bar(out: Console, total: int) -> Iterator[Any]:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=out, transient=True) as bar:
        task = bar.add_task("starting", total=max(1, total))

        def show(status: pb.StatusResponse) -> None:
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
