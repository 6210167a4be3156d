"""Two clusters under the same load in turn, and the row that says how they compare."""

import asyncio
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from cases import WARMUP_S, Case, in_turn, outcome_of, requests_for, side
from loads import bare_client, h2load
from loads.answers import Judge
from loads.h2load import Load
from servers import Server, processor_s

from penstock.gateway.fronts.grpc.asgi.wire import framed
from penstock.loadgen.plan import METHOD
from penstock.loadgen.requests import first_answer


class Measured(NamedTuple):
    """One round of one side.

    Attributes:
        result: what the case measures.
        work_us: processor time of all processes for each request; that of the warm-up is in it.
    """

    result: float
    work_us: float


class Pair(NamedTuple):
    """All rounds of both sides.

    Attributes:
        before: what the other is compared with.
    """

    before: Sequence[Measured]
    now: Sequence[Measured]

    @property
    def ratios(self) -> list[float]:
        """Now to before, of each round."""
        return [b.result / a.result for a, b in zip(self.before, self.now, strict=True)]

    @property
    def work(self) -> float:
        """Processor time, now to before."""
        pairs = zip(self.before, self.now, strict=True)
        return statistics.median(b.work_us / a.work_us for a, b in pairs)

    def cells(self, unit: str) -> list[str]:
        """Of a table's row: before, now, their ratio, its spread, and that of the work."""
        ratios = self.ratios
        both = (side(tuple(one.result for one in rounds), unit) for rounds in self)
        spread = f"{min(ratios):.2f}..{max(ratios):.2f}"
        return [*both, f"{statistics.median(ratios):.2f}", spread, f"{self.work:.2f}"]


def measure(
    case: Case,
    servers: tuple[Server, Server],
    client: str,
    seconds: float,
    rounds: int,
    show: Callable[[str], None],
) -> Pair:
    """Round by round what both *servers* reach.

    Args:
        client: "python", or "cheap": h2load for small requests, bare sockets for large ones.
    """
    first = servers[0]
    requests = asyncio.run(requests_for(first.target, case.model, first.credentials))
    by = _by_python
    if client == "cheap":
        by = _by_h2load if len(requests[0]) <= h2load.SMALL_BYTES else _by_bare_client
    one, other = (_under(by(case, server, requests), case, server) for server in servers)
    pairs = in_turn(one, other, seconds, rounds, lambda text: show(f"{case.name}: {text}"))
    before, now = zip(*pairs, strict=True)
    return Pair(before, now)


def _by_h2load(case: Case, server: Server, requests: tuple[bytes, ...]) -> Callable[..., Load]:
    url = f"{'http' if server.ca is None else 'https'}://{server.address}{METHOD}"
    answer = len(asyncio.run(first_answer(server.target, requests[0], server.credentials)))
    return partial(
        h2load.load, url, framed(requests[0]), answer, callers=case.concurrency, warmup_s=WARMUP_S
    )


def _by_bare_client(case: Case, server: Server, requests: tuple[bytes, ...]) -> Callable[..., Load]:
    judge = Judge(asyncio.run(first_answer(server.target, requests[0], server.credentials)))
    sent, is_right = framed(requests[0]), judge.is_right
    return partial(
        bare_client.load,
        server,
        METHOD,
        sent,
        is_right,
        callers=case.concurrency,
        warmup_s=WARMUP_S,
    )


def _by_python(case: Case, server: Server, requests: tuple[bytes, ...]) -> Callable[..., Load]:
    def load(seconds: float) -> Load:
        outcome = outcome_of(case, server.target, requests, seconds, server.credentials)
        per_s = outcome.throughput_per_s
        return Load(per_s, outcome.latency_ms(0.5), per_s * (seconds + WARMUP_S))

    return load


def _under(load: Callable[..., Load], case: Case, server: Server) -> Callable[[float], Measured]:
    """What *server* reaches in so many seconds under *load*, and what that costs it."""

    def once(seconds: float) -> Measured:
        before_s = processor_s(server)
        did = load(seconds=seconds)
        spent_s = processor_s(server) - before_s
        result = did.p50_ms if case.unit == "ms" else did.per_s
        return Measured(result, spent_s / did.requests * 1e6)

    return once
