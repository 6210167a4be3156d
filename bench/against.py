"""``make bench-against REV=...``: measure this working tree beside an older revision.

    python bench/against.py REVISION [--only W1 W1-one] [--rounds N] [--seconds S] [--front asgi]
                                     [--client python]

Both clusters run at once and are loaded in turn, as `cases` says, with the same packages installed.
Small requests come from h2load where it is installed, as in ``make bench-peers``: a client of
Python's takes as long for a request as a cluster does, and hides half of what changed.
"work" is the processor time of all of a cluster's processes for each request, now to then: what
others do on the machine moves it less than the rates. The exit status is 1 when a case has become
slower by more than a twentieth. "memory" is what large requests that fail add to each side's
gateway.
"""

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import h2load
from cases import (
    CASES,
    WARMUP_S,
    Case,
    in_turn,
    named,
    outcome_of,
    requests_for,
    result_of,
    side,
)
from memory import measure_failed
from models import needed
from rich.console import Console
from rich.table import Table
from servers import HERE, Server, cluster, processor_s

from penstock.loadgen.plan import METHOD
from penstock.loadgen.requests import first_answer

_SLOWER_BY = 0.05


def main() -> None:
    """Measure and print."""
    options = _options()
    console = Console()
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("case", "what", options.revision, "now", "now to then", "spread", "work"):
        table.add_column(name, justify="left" if name in ("case", "what") else "right")
    slower = False
    with _checked_out(options.revision) as tree:
        if "memory" in options.only:
            table.add_row(*_failed(tree))
        for case in CASES:
            if case.name not in options.only:
                continue
            with named(case), Console(stderr=True).status(case.name) as status:
                then, now = _measure(case, tree, options, status.update)
            ratios = [b.result / a.result for a, b in zip(then, now, strict=True)]
            work = statistics.median(b.work_us / a.work_us for a, b in zip(then, now, strict=True))
            ratio = statistics.median(ratios)
            worse = (ratio if case.unit == "ms" else 1 / ratio) > 1 + _SLOWER_BY
            slower |= worse
            table.add_row(
                case.name,
                case.text,
                side(tuple(one.result for one in then), case.unit),
                side(tuple(one.result for one in now), case.unit),
                f"{ratio:.2f}",
                f"{min(ratios):.2f}..{max(ratios):.2f}",
                f"{work:.2f}",
                style="red" if worse else None,
            )
    console.print(table)
    sys.exit(1 if slower else 0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure this tree beside an older revision.")
    names = [case.name for case in CASES] + ["memory"]
    parser.add_argument("revision", help="anything that git knows: a commit, a tag, main~5")
    parser.add_argument("--only", nargs="+", choices=names, default=["W1", "W1-one", "memory"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--front", choices=["aio", "asgi"], help="what speaks gRPC now")
    parser.add_argument(
        "--client",
        choices=["h2load", "python"],
        default="h2load" if h2load.is_installed() else "python",
        help="what sends small requests (default: %(default)s)",
    )
    return parser.parse_args()


def _failed(tree: Path) -> list[str]:
    """The row that says what large requests that fail leave in the gateways."""
    with (
        Console(stderr=True).status("memory"),
        cluster("w1", tree=tree) as then,
        cluster("w1") as now,
    ):
        then_mb, now_mb = measure_failed(then), measure_failed(now)
    text = "growth over requests that fail"
    return [
        "memory",
        text,
        f"{then_mb:+.1f} MB",
        f"{now_mb:+.1f} MB",
        f"{now_mb - then_mb:+.1f} MB",
        "",
        "",
    ]


@contextmanager
def _checked_out(revision: str) -> Iterator[Path]:
    """The tree of *revision*, in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="penstock-then-") as folder:
        archive = subprocess.run(
            ["git", "-C", str(HERE.parent), "archive", revision], check=True, stdout=subprocess.PIPE
        )
        subprocess.run(["tar", "-x", "-C", folder], check=True, input=archive.stdout)
        yield Path(folder)


class Measured(NamedTuple):
    """One round of one side.

    Attributes:
        result: what the case measures.
        work_us: processor time of all processes for each request; that of the warm-up is in it.
    """

    result: float
    work_us: float


def _measure(
    case: Case, tree: Path, options: argparse.Namespace, tell: Callable[[str], None]
) -> tuple[tuple[Measured, ...], tuple[Measured, ...]]:
    """What *tree* and this tree reach, round by round."""
    models, front = needed(case.model), ("--grpc-front", options.front) if options.front else ()
    with cluster(*models, tree=tree) as then, cluster(*models, options=front) as now:
        requests = asyncio.run(requests_for(now.address, case.model))
        small = len(requests[0]) <= h2load.SMALL_BYTES
        by = _by_h2load if small and options.client == "h2load" else _by_python
        sides = [by(case, server, requests) for server in (then, now)]
        pairs = list(
            in_turn(
                *sides,
                options.seconds,
                options.rounds,
                lambda text: tell(f"{case.name}: {text}"),
            )
        )
    return tuple(a for a, _ in pairs), tuple(b for _, b in pairs)


def _by_h2load(
    case: Case, server: Server, requests: tuple[bytes, ...]
) -> Callable[[float], Measured]:
    answer = len(asyncio.run(first_answer(server.address, requests[0])))

    def once(seconds: float) -> Measured:
        before_s = processor_s(server)
        did = h2load.load(
            f"{server.address}{METHOD}",
            h2load.framed(requests[0]),
            answer,
            callers=case.concurrency,
            warmup_s=WARMUP_S,
            seconds=seconds,
        )
        spent_s = processor_s(server) - before_s
        result = did.p50_ms if case.unit == "ms" else did.per_s
        return Measured(result, spent_s / did.requests * 1e6)

    return once


def _by_python(
    case: Case, server: Server, requests: tuple[bytes, ...]
) -> Callable[[float], Measured]:
    def once(seconds: float) -> Measured:
        before_s = processor_s(server)
        outcome = outcome_of(case, server.address, requests, seconds)
        spent_s = processor_s(server) - before_s
        sent = outcome.throughput_per_s * (seconds + WARMUP_S)
        return Measured(result_of(case, outcome), spent_s / sent * 1e6)

    return once


if __name__ == "__main__":
    main()
