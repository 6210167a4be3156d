"""``make bench-gap``: how long an answer pauses where a worker is killed, with SmolLM2.

    python -m language.gap [--rounds N] [--front asgi]

A cluster has the model in two stages and two groups of workers. In the middle of an answer the
worker of either stage that computes it is killed (SIGKILL), and the other group goes on from the
log. The gap is the longest pause from then on, less a step; beside it stands what it takes to read
as many tokens anew: until the first token of a prompt that is as long as prompt and log.
"""

import argparse
import asyncio
import os
import shutil
import signal
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import grpc
import psutil
from cases import empty_table
from rich.console import Console
from servers import Server, serving_repository

from language import steps
from penstock.client import Client
from penstock.protos import cluster_pb2

_STAGES = 2
_GROUPS = 2
_BEFORE, _AFTER = 24, 24
"""Tokens of an answer before the death, and at least as many after it."""

_AS_LONG = "one two three four " * (_BEFORE // 4 + 1)
"""A prompt of some more tokens than there are before the death."""

_GOAL_S = 0.3
_READY_S = 60.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="How long an answer pauses at a death.")
    parser.add_argument("--rounds", type=int, default=5, help="for each stage")
    parser.add_argument("--front", choices=["aio", "asgi"], default="aio", help="what speaks gRPC")
    options = parser.parse_args()
    console = Console()
    numbers = ("gap", "at most", "reads anew in", "beyond that", "goal")
    table = empty_table("killed", right=numbers)
    with _repository() as models, serving_repository(models, "--grpc-front", options.front) as up:
        asyncio.run(_until_ready(up))
        for stage in range(_STAGES):
            with Console(stderr=True).status(f"stage {stage}") as status:
                gaps, anew_s = asyncio.run(_measure(up, stage, options.rounds, status.update))
            gap_s = statistics.median(gaps)
            table.add_row(
                f"worker of stage {stage}",
                f"{gap_s:.2f} s",
                f"{max(gaps):.2f} s",
                f"{anew_s:.2f} s",
                f"{gap_s - anew_s:+.2f} s",
                f"{_GOAL_S} s",
            )
    console.print(table)


@contextmanager
def _repository() -> Iterator[Path]:
    """The version in two stages, for two groups."""
    version = steps.version(_STAGES)
    with tempfile.TemporaryDirectory(prefix="penstock-gap-", dir=version.parents[2]) as folder:
        model = Path(folder) / steps.MODEL
        shutil.copytree(version, model / "1", copy_function=os.link)
        config = (version.parent / "config.pbtxt").read_text()
        (model / "config.pbtxt").write_text(config.replace("count: 1", f"count: {_GROUPS}"))
        yield Path(folder)


async def _measure(
    server: Server, stage: int, rounds: int, show: Callable[[str], None]
) -> tuple[list[float], float]:
    """The gap of each death, and how long reading as many tokens takes, the median; seconds."""
    gaps, anew = [], []
    async with grpc.aio.insecure_channel(server.address) as channel:
        for number in range(rounds):
            show(f"stage {stage}, round {number + 1} of {rounds}")
            anew.append(await steps.until_first(channel, _AS_LONG))
            gaps.append(await _gap(channel, server, stage))
            await _until_ready(server)
    return gaps, statistics.median(anew)


async def _gap(channel: grpc.aio.Channel, server: Server, stage: int) -> float:
    """Kill the worker of *stage* that computes an answer; for how many seconds more it pauses."""
    before, killed_s, times = _processor_times(server, stage), 0.0, list[float]()
    async for count in steps.counts(channel, "Once upon a time", _BEFORE + _AFTER):
        times.extend([time.perf_counter()] * count)
        if not killed_s and len(times) >= _BEFORE:
            after = await asyncio.to_thread(_processor_times, server, stage)
            killed_s = time.perf_counter()
            os.kill(max(after, key=lambda pid: after[pid] - before.get(pid, 0.0)), signal.SIGKILL)
    if len(times) != _BEFORE + _AFTER:
        raise RuntimeError("the answer ended before its time")
    step_s = statistics.median(later - sooner for sooner, later in pairwise(times[:_BEFORE]))
    pauses = [later - sooner for sooner, later in pairwise(times) if later > killed_s]
    return max(pauses) - step_s


def _processor_times(server: Server, stage: int) -> dict[int, float]:
    """Of the workers of *stage*, by their process ids."""
    pids = [worker.pid for worker in _workers(server) if worker.stage == stage]
    return {pid: sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids}


def _workers(server: Server) -> list[cluster_pb2.Worker]:
    with Client(server.address) as client:
        status = client.status(steps.MODEL)
    return [one for version in status.versions for part in version.stages for one in part.workers]


async def _until_ready(server: Server) -> None:
    """Until all workers of all groups are ready.

    Raises:
        TimeoutError: they are not within a minute.
    """
    async with asyncio.timeout(_READY_S):
        while True:
            workers = await asyncio.to_thread(_workers, server)
            ready = [one for one in workers if one.state == cluster_pb2.WORKER_STATE_READY]
            if len(ready) == len(workers) == _STAGES * _GROUPS:
                return
            await asyncio.sleep(0.2)


if __name__ == "__main__":
    main()
