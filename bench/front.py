"""``make bench-front``: what carrying a request costs, by each of the gateway's gRPC servers.

    python bench/front.py [--rounds N] [--seconds S]

Each server runs as in a gateway and answers ModelInfer with a constant, so that all that is spent
is spent by the front: processor time of the server's process for each request, from 64 callers at
a time, from one, and with 600 KB in each request. Measured in turn; ratios of the medians.
"""

import argparse
import asyncio
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import uvloop
from ceiling import default_reply
from rich.console import Console
from rich.table import Table
from servers import Server, processor_s, run_by

from penstock.client.encoding import infer_request
from penstock.gateway.fronts.grpc.aio.server import AioServer
from penstock.gateway.fronts.grpc.asgi.server import AsgiRpcServer
from penstock.gateway.fronts.grpc.inference_service import SERVICE
from penstock.gateway.fronts.grpc.rpc import Method, Rpc
from penstock.loadgen.fleet import run_load
from penstock.loadgen.plan import Plan
from penstock.process.heap import keep_freed_memory
from penstock.process.lifetime import stop_signals, write_ready
from penstock.settings import GatewaySettings

SERVERS: Final[dict[str, Any]] = {"aio": AioServer, "asgi": AsgiRpcServer}


class Load(NamedTuple):
    """What callers send."""

    text: str
    concurrency: int
    size: int


LOADS: Final = (
    Load("64 callers, 256 bytes", 64, 256),
    Load("1 caller, 256 bytes", 1, 256),
    Load("64 callers, 600 KB", 64, 600_000),
)

_GOAL: Final = 1.5
"""Of gRPC's own server to the second one, which is worth its keep if it costs so much less."""


class Cost(NamedTuple):
    """Of one request.

    Attributes:
        cpu_us: of the server's process.
        p50_ms: as its caller sees it.
    """

    cpu_us: float
    per_s: float
    p50_ms: float


async def serve(kind: str, ready_file: Path) -> None:
    """Answer a constant until terminated; *ready_file* gets the address."""
    keep_freed_memory()
    reply = default_reply().SerializeToString()

    async def answer(rpc: Rpc) -> bytes:
        await rpc.read()
        return reply

    settings = GatewaySettings(redis="unix:///none", port=0)
    server = SERVERS[kind]({f"/{SERVICE}/ModelInfer": Method(answer, often=True)}, settings)
    async with stop_signals() as stop:
        await server.start()
        write_ready(ready_file, server.address)
        await stop.wait()
        await server.stop()


def request_of(size: int) -> bytes:
    """A request with a tensor of so many bytes."""
    return infer_request("w1", {"input": np.zeros(size, np.uint8)}).SerializeToString()


def cost(server: Server, load: Load, seconds: float) -> Cost:
    """Of a request of *load*."""
    plan = Plan(
        target=server.address,
        requests=(request_of(load.size),),
        concurrency=load.concurrency,
        warmup_s=0.0,
        duration_s=seconds,
    )
    before_s = processor_s(server)
    outcome = asyncio.run(run_load(plan))
    used_s = processor_s(server) - before_s
    return Cost(used_s / outcome.answered * 1e6, outcome.throughput_per_s, outcome.latency_ms(0.5))


def measure(rounds: int, seconds: float) -> dict[tuple[str, str], Cost]:
    """The medians, by load and server."""
    found: dict[tuple[str, str], list[Cost]] = {}
    with run_by("front.py", "aio") as aio, run_by("front.py", "asgi") as asgi:
        for server in (aio, asgi):
            cost(server, LOADS[0], 1.0)
        for number in range(rounds):
            order = [("aio", aio), ("asgi", asgi)][:: 1 if number % 2 else -1]
            for load in LOADS:
                for kind, server in order:
                    found.setdefault((load.text, kind), []).append(cost(server, load, seconds))
    return {
        key: Cost(*(statistics.median(values) for values in zip(*costs, strict=True)))
        for key, costs in found.items()
    }


@dataclass(frozen=True, slots=True)
class FrontResult:
    """What each server costs, by load and server."""

    costs: Mapping[tuple[str, str], Cost]

    def ratio(self, load: Load) -> float:
        """Processor time of a request by gRPC's own server, to that by the other."""
        return self.costs[load.text, "aio"].cpu_us / self.costs[load.text, "asgi"].cpu_us

    @property
    def reached(self) -> bool:
        """Whether small requests of many callers cost two thirds, or less."""
        return self.ratio(LOADS[0]) >= _GOAL

    def text(self) -> str:
        """One line for people."""
        ratios = ", ".join(f"{load.text} {self.ratio(load):.1f}" for load in LOADS)
        verdict = "reached" if self.reached else "MISSED"
        return (
            "front: processor time of a request, --grpc-front aio to asgi: "
            f"{ratios} (goal for {LOADS[0].text} >= {_GOAL:g}): {verdict}"
        )

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        costs = {f"{load}, {kind}": cost._asdict() for (load, kind), cost in self.costs.items()}
        return {"costs": costs, "reached": self.reached}


def table(costs: dict[tuple[str, str], Cost]) -> Table:
    """As it is shown."""
    made = Table("load", "aio", "asgi", "aio / asgi", "p50 ms", title="us of the server each")
    for load in LOADS:
        aio, asgi = costs[load.text, "aio"], costs[load.text, "asgi"]
        made.add_row(
            load.text,
            f"{aio.cpu_us:.0f}",
            f"{asgi.cpu_us:.0f}",
            f"{aio.cpu_us / asgi.cpu_us:.2f}",
            f"{aio.p50_ms:.2f} {asgi.p50_ms:.2f}",
        )
    return made


def main() -> None:
    """Measure and print, or serve for those who measure."""
    parser = argparse.ArgumentParser(description="What each gRPC server costs.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--run", choices=SERVERS, help=argparse.SUPPRESS)
    parser.add_argument("--ready-file", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        uvloop.run(serve(options.run, options.ready_file))
        return
    Console().print(table(measure(options.rounds, options.seconds)))


if __name__ == "__main__":
    main()
