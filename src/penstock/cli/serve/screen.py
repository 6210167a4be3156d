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
from penstock.cli.serve.readiness import Start, expected_versions, progress, state_at_start
from penstock.cli.tables import models_table
from penstock.clock import monotonic
from penstock.process.forking.templates import Seed
from penstock.process.lifetime import kill_descendants, say_ready, starting, stop_signals
from penstock.protos import cluster_pb2 as pb
from penstock.settings import UpSettings
from penstock.transport.addresses import reachable

_MANY = 20
"""Models from which on not each is told of."""

_COUNT_EVERY_S = 1.0


class Screen:
    """One run of ``penstock up``."""

    def __init__(self, settings: UpSettings, seed: Seed | None = None) -> None:
        """*seed*: where the template of roles comes from; None: it is started as a program."""
        self._settings = settings
        self._seed = seed
        self._out = Console(highlight=False)
        self._started = time.monotonic()

    async def run(self) -> None:
        """Run the cluster until told to stop, or until a role refuses to begin.

        Raises:
            RoleFailed: it does.
        """
        async with (
            stop_signals(lambda: kill_descendants(os.getpid())) as stop,
            starting(stop) as started,
            LocalCluster(self._settings, _say, self._seed) as cluster,
        ):
            started()
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
        start = Start(await asyncio.to_thread(expected_versions, self._settings))
        with self._shown(start) as show:
            address = await cluster.address()
            asking = progress(cluster.own_url(address), cluster.key)
            async with contextlib.aclosing(asking) as answers:
                async for status in answers:
                    show(status)
                    if start.is_over(status, monotonic()):
                        break
        self._report(address, cluster, status)
        # Whoever waits for the file may read what was written.
        say_ready(self._settings.ready_file, address)
        await asyncio.Event().wait()

    @contextlib.contextmanager
    def _shown(self, start: Start) -> Iterator[Any]:
        if self._out.is_terminal:
            with _bar(self._out, start) as show:
                yield show
        else:
            yield _Lines(self._out, start).show

    def _report(self, address: str, cluster: LocalCluster, status: pb.StatusResponse) -> None:
        http, metrics = cluster.address_of("http"), cluster.address_of("metrics")
        seconds = time.monotonic() - self._started
        self._out.print(f"\nPenstock serves at [bold]{address}[/] (ready in {seconds:.1f} s)")
        scheme = "https" if self._settings.tls_cert else "http"
        if http:
            self._out.print(f"HTTP at {scheme}://{reachable(http)}")
        if metrics:
            self._out.print(f"Metrics at {scheme}://{reachable(metrics)}/metrics")
        self._out.print()
        if status.versions:
            self._out.print(models_table(status))
        else:
            self._out.print(self._nothing_served(), markup=False, soft_wrap=True)
        if self._settings.auth == "keys":
            self._out.print(
                f"\nCallers need keys: PENSTOCK_REDIS={cluster.redis} penstock keys create TEAM",
                markup=False,
                soft_wrap=True,
            )
        url = self._way_in(reachable(address))
        self._out.print("\nNext, in another terminal:", f"  penstock status{url}", sep="\n")
        ready = [version for version in status.versions if version.state == "READY"]
        failed = [version for version in status.versions if version.state == "UNAVAILABLE"]
        if failed:
            models = " ".join(map(str, self._settings.models))
            self._out.print(f"  penstock check {models}", markup=False, soft_wrap=True)
        if ready:
            self._out.print(f"  penstock bench {ready[0].model}{url}", markup=False)
        self._out.print("Ctrl-C stops everything.\n")

    def _way_in(self, address: str) -> str:
        """The options of commands that ask this cluster."""
        if not self._settings.tls_cert:
            return "" if address == "127.0.0.1:8001" else f" --url {address}"
        proof = " --cert FILE --key FILE" if self._settings.tls_client_ca else ""
        return f" --url grpcs://{address} --ca FILE{proof}"

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
    """Progress for a file or a pipe: a line for each change; of many models, how many are ready."""

    def __init__(self, out: Console, start: Start) -> None:
        self._out = out
        self._start = start
        self._seen: dict[tuple[str, int], str] = {}
        self._counted = ""
        self._counted_s = 0.0

    def show(self, status: pb.StatusResponse) -> None:
        many = len(status.versions) > _MANY
        for version in status.versions:
            key, state = (version.model, version.version), state_at_start(version, status)
            if self._seen.get(key) != state:
                self._seen[key] = state
                seen = f"{version.model} version {version.version}: {state}"
                if state == "UNAVAILABLE":
                    seen += f": {version.reason}"
                if not many or state == "UNAVAILABLE":
                    self._out.print(seen, markup=False, soft_wrap=True)
        if many:
            self._count(self._start.text(status), monotonic())

    def _count(self, text: str, now_s: float) -> None:
        if text != self._counted and now_s - self._counted_s >= _COUNT_EVERY_S:
            self._out.print(text)
            self._counted, self._counted_s = text, now_s


@contextlib.contextmanager
def _bar(out: Console, start: Start) -> Iterator[Any]:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=out, transient=True) as bar:
        task = bar.add_task("starting", total=1)

        def show(status: pb.StatusResponse) -> None:
            waiting = [v for v in status.versions if state_at_start(v, status) == "LOADING"]
            names = [f"{v.model} {v.version}" for v in waiting]
            text = f"loading {', '.join(names[:3])}" if names else "starting"
            total, done = max(1, start.total(status)), len(status.versions) - len(waiting)
            text = f"{start.text(status)}, {text}" if status.versions else text
            bar.update(task, completed=done, total=total, description=text)

        yield show


def _say(role: str, line: str) -> None:
    print(f"{role:<9} | {line}", file=sys.stderr, flush=True)
