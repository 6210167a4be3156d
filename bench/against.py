"""``make bench-against REV=...``: measure this working tree beside an older revision.

    python bench/against.py REVISION [--only W1 W1-one] [--rounds N] [--seconds S] [--front asgi]
                                     [--client python]

Both clusters run at once and are loaded in turn, as `cases` says, with the same packages installed.
Small requests come from h2load where it is installed, as in ``make bench-peers``, and large ones
from bare sockets: a client of Python's takes as long for a request as a cluster does, and hides
half of what changed.
"work" is the processor time of all of a cluster's processes for each request, now to then: what
others do on the machine moves it less than the rates. The exit status is 1 when a case has become
slower by more than a twentieth. "memory" is what large requests that fail add to each side's
gateway.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cases import CASES, Case, empty_table, named
from loads import h2load
from memory import measure_failed
from models import needed
from rich.console import Console
from servers import HERE, cluster
from sides import Pair, measure

_SLOWER_BY = 0.05


def main() -> None:
    """Measure and print."""
    options = _options()
    console = Console()
    numbers = (options.revision, "now", "now to then", "spread", "work")
    table = empty_table("case", "what", right=numbers, padding=(0, 1, 0, 0))
    slower = False
    with _checked_out(options.revision) as tree:
        if "memory" in options.only:
            table.add_row(*_failed(tree))
        for case in CASES:
            if case.name not in options.only:
                continue
            with named(case), Console(stderr=True).status(case.name) as status:
                pair = _measure(case, tree, options, status.update)
            ratio = statistics.median(pair.ratios)
            worse = (ratio if case.unit == "ms" else 1 / ratio) > 1 + _SLOWER_BY
            slower |= worse
            style = "red" if worse else None
            table.add_row(case.name, case.text, *pair.cells(case.unit), style=style)
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
        choices=["cheap", "python"],
        default="cheap" if h2load.is_installed() else "python",
        help="what sends the requests (default: %(default)s)",
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
    sizes = (f"{size:+.1f} MB" for size in (then_mb, now_mb, now_mb - then_mb))
    return ["memory", "growth over requests that fail", *sizes, "", ""]


@contextmanager
def _checked_out(revision: str) -> Iterator[Path]:
    """The tree of *revision*, in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="penstock-then-") as folder:
        archive = subprocess.run(
            ["git", "-C", str(HERE.parent), "archive", revision], check=True, stdout=subprocess.PIPE
        )
        subprocess.run(["tar", "-x", "-C", folder], check=True, input=archive.stdout)
        yield Path(folder)


def _measure(
    case: Case, tree: Path, options: argparse.Namespace, show: Callable[[str], None]
) -> Pair:
    """What *tree* and this tree reach, round by round."""
    models, front = needed(case.model), ("--grpc-front", options.front) if options.front else ()
    with cluster(*models, tree=tree) as then, cluster(*models, options=front) as now:
        both = then, now
        return measure(case, both, options.client, options.seconds, options.rounds, show)


if __name__ == "__main__":
    main()
