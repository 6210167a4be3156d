"""Whether a gateway process keeps its memory: its RSS over 100,000 requests.

    python bench/memory.py [--requests N]

W1 at 64 callers, in slices; after each slice the resident size of every gateway process of the
cluster is read. Reached: below 150 MB at the end, and in the last two fifths of the requests, after
every pool and cache has filled, no more growth than allocation noise.

Then large requests that are refused or fail: they leave less than a few of them.
"""

import argparse
import asyncio
import json
import sys
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
import psutil
from servers import Server, cluster

from penstock.client.encoding import infer_request
from penstock.loadgen.fleet import run_load
from penstock.loadgen.plan import Plan
from penstock.loadgen.requests import Wanted, describe, make_requests
from penstock.protos import grpc_service_pb2 as pb
from penstock.protos.grpc_service_pb2_grpc import GRPCInferenceServiceStub

_MB = 1_000_000
_LIMIT_MB = 150.0
_NOISE_MB = 2.0
_SLICE_S = 2.0
_SETTLED = 0.6
"""The share of the requests after which nothing may grow any more."""

_FAILED_MB = 16
_FAILED_FIRST, _FAILED = 5, 40
_FAILED_LIMIT_MB = 8.0 * _FAILED_MB
"""A gateway keeps freed memory (process/heap.py), and gRPC buffers of its own; all would be 560."""


@dataclass(frozen=True, slots=True)
class MemoryResult:
    """Requests so far, and the largest gateway process then, in MB.

    Attributes:
        failed_mb: more than after the first few, after many large requests that failed.
    """

    samples: tuple[tuple[int, float], ...]
    failed_mb: float

    @property
    def growth_mb(self) -> float:
        """From the moment when things should have settled to the end."""
        total = self.samples[-1][0]
        settled = next(size for count, size in self.samples if count >= _SETTLED * total)
        return self.samples[-1][1] - settled

    @property
    def reached(self) -> bool:
        """Small enough, and steady."""
        steady = self.samples[-1][1] < _LIMIT_MB and self.growth_mb < _NOISE_MB
        return steady and self.failed_mb < _FAILED_LIMIT_MB

    def text(self) -> str:
        """One line for people."""
        first, last = self.samples[0], self.samples[-1]
        verdict = "reached" if self.reached else "MISSED"
        return (
            f"gateway memory: {first[1]:.0f} MB at first, {last[1]:.0f} MB after "
            f"{last[0]:,} (goal < {_LIMIT_MB:.0f}), {self.growth_mb:+.1f} MB over the last "
            f"{1 - _SETTLED:.0%} of them (goal < {_NOISE_MB:g}), {self.failed_mb:+.1f} MB over "
            f"{_FAILED} of {_FAILED_MB} MB that fail (goal < {_FAILED_LIMIT_MB:g}): {verdict}"
        )

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "samples": [{"requests": count, "rss_mb": size} for count, size in self.samples],
            "growth_mb": self.growth_mb,
            "failed_mb": self.failed_mb,
            "reached": self.reached,
        }


def measure_memory(requests: int = 100_000) -> MemoryResult:
    """Send *requests* in all and watch the gateway."""
    with cluster("w1") as server:
        samples = asyncio.run(_watch(server, requests))
        return MemoryResult(samples, measure_failed(server))


def measure_failed(server: Server) -> float:
    """By how many MB the gateway grows over large requests that are refused or fail."""
    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(server.address, options=options) as channel:
        stub = GRPCInferenceServiceStub(channel)  # type: ignore[no-untyped-call]
        for count in range(_FAILED):
            if count == _FAILED_FIRST:
                before_mb = _largest_gateway_mb(server.pid)
            try:
                stub.ModelInfer(_failing(count), timeout=0.002 if count % 4 == 3 else 30)
            except grpc.RpcError:
                continue
            raise RuntimeError("a request that cannot be right was answered")
    return _largest_gateway_mb(server.pid) - before_mb


def _failing(count: int) -> pb.ModelInferRequest:
    """An unknown model, a wrong shape, a tensor that there is not, and one with hardly any time."""
    name = "nothing" if count % 4 == 2 else "x"
    inputs = {name: np.zeros((1, _FAILED_MB * _MB // 4), np.float32)}
    return infer_request("nobody" if count % 4 == 0 else "w1", inputs)


async def _watch(server: Server, wanted: int) -> tuple[tuple[int, float], ...]:
    model = await describe(server.address, "w1")
    plan = Plan(
        target=server.address,
        requests=make_requests(model, Wanted()),
        concurrency=64,
        warmup_s=0.0,
        duration_s=_SLICE_S,
    )
    count = 0
    samples = [(count, _largest_gateway_mb(server.pid))]
    while count < wanted:
        # All answers, those that came after the slice's end included.
        count += (await run_load(plan)).latency.count
        samples.append((count, _largest_gateway_mb(server.pid)))
    return tuple(samples)


def _largest_gateway_mb(pid: int) -> float:
    sizes = [
        process.memory_info().rss / _MB
        for process in psutil.Process(pid).children(recursive=True)
        if "gateway" in process.cmdline()
    ]
    if not sizes:
        raise RuntimeError("found no gateway process below `penstock up`")
    return max(sizes)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="The gateway's memory over many requests.")
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = measure_memory(options.requests)
    print(json.dumps(result.as_json(), indent=2) if options.json else result.text())
    sys.exit(0 if result.reached else 1)


if __name__ == "__main__":
    main()
