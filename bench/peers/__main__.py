"""``make bench-peers``: Penstock beside Triton, KServe, MLServer and mosec, on W1 to W4.

    python -m peers [--only W1 W4] [--servers Triton] [--rounds N] [--seconds S] [--minutes M]

For each case all servers are started, each set up in the way that did best in a short trial, and
asked in turn, round by round. Each answers the first request as the model does, or is left out by
name. The ratio is that of Penstock, by whichever of its gRPC servers is better, to the peer, the
median over the rounds. Processor time is that of all of a server's processes.
"""

import argparse
import contextlib
import json
import os
import statistics
import sys
import time
from dataclasses import dataclass, field
from typing import Any

from cases import CASES, Case, cores
from loads import h2load
from rich.console import Console
from rich.table import Table
from servers import RESULTS

from peers.asking import Asked, Measured
from peers.environments import REQUIREMENTS, NotInstalled
from peers.starting import DidNotServe, started
from peers.tunings import OURS, SERVERS, Tuning, tunings
from penstock.errors import PenstockError

MEASURED = ("W1", "W1-one", "W2", "W3", "W4")
_COMPUTING = ("W2", "W3")
_TRIAL_S = 1.5


@dataclass
class Row:
    """What one server did in one case.

    Attributes:
        tuning: that it was set up by.
        rounds: what was measured.
        absent: why there is nothing, if so.
    """

    server: str
    tuning: Tuning | None = None
    rounds: list[Measured] = field(default_factory=list)
    absent: str = ""

    def value(self, case: Case) -> float:
        """The median of its rounds."""
        return statistics.median(one.value(case) for one in self.rounds)


def main() -> None:
    """Measure and print."""
    options = _options()
    if not h2load.is_installed():
        sys.exit(
            "h2load is missing, which makes the load of small requests: apt-get install "
            "nghttp2-client"
        )
    console, ends_s = Console(), time.monotonic() + 60 * options.minutes
    found: dict[str, list[Row]] = {}
    for case in (one for one in CASES if one.name in options.only):
        if time.monotonic() > ends_s:
            console.print(f"{case.name}: left out, since --minutes {options.minutes:g} are over")
            continue
        with Console(stderr=True).status(case.name) as status:
            found[case.name] = _measure(case, options, status.update)
        console.print(_table(case, found[case.name]))
    _keep(found, options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Penstock beside other servers.")
    parser.add_argument("--only", nargs="+", choices=MEASURED, default=MEASURED)
    parser.add_argument("--servers", nargs="+", choices=SERVERS, default=SERVERS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    parser.add_argument("--minutes", type=float, default=40.0, help="then no case is begun")
    return parser.parse_args()


def _measure(case: Case, options: argparse.Namespace, show: Any) -> list[Row]:
    """The rows of a case, in the order of the servers."""
    rows = [Row(name) for name in SERVERS if name in options.servers]
    computes = case.name in _COMPUTING
    for row in rows:
        show(f"{case.name}: trying {row.server}")
        _choose(row, case, computes=computes)
    with contextlib.ExitStack() as stack:
        asked: dict[str, Asked] = {}
        for row in rows:
            if row.tuning is None:
                continue
            show(f"{case.name}: starting {row.server}")
            starting = started(row.server, case.model, row.tuning, computes=computes)
            asked[row.server] = Asked.of(case, stack.enter_context(starting))
        for number in range(options.rounds):
            present = [row for row in rows if row.server in asked]
            for row in present[:: 1 if number % 2 else -1]:
                show(f"{case.name}: round {number + 1}, {row.server}")
                if not _measured(row, asked[row.server], options.seconds):
                    del asked[row.server]
    return rows


def _measured(row: Row, asked: Asked, seconds: float) -> bool:
    """One more round of *row*; one that no longer answers is left out by name."""
    try:
        row.rounds.append(asked.measure(seconds))
    except (DidNotServe, PenstockError, RuntimeError, OSError) as error:
        row.absent = f"stopped answering in round {len(row.rounds) + 1}: {error}"
        row.rounds.clear()
        return False
    return True


def _choose(row: Row, case: Case, *, computes: bool) -> None:
    """Find the tuning that does best in a short trial; or say why there is none."""
    best: tuple[float, Tuning] | None = None
    for tuning in tunings(row.server, cores(), computes=computes):
        try:
            with started(row.server, case.model, tuning, computes=computes) as peer:
                did = Asked.of(case, peer).measure(_TRIAL_S).value(case)
        except (NotInstalled, DidNotServe, RuntimeError) as error:
            row.absent = f"{type(error).__name__}: {error}"
            continue
        better = -did if case.unit == "ms" else did
        if best is None or better > best[0]:
            best = better, tuning
    if best is not None:
        row.tuning, row.absent = best[1], ""


def _ours(rows: list[Row], case: Case) -> Row | None:
    """The better of Penstock's."""
    own = [row for row in rows if row.server in OURS and row.rounds]
    if not own:
        return None
    choose = min if case.unit == "ms" else max
    return choose(own, key=lambda row: row.value(case))


def _ratios(ours: Row, row: Row, case: Case) -> list[float]:
    """Above 1 where Penstock is ahead."""
    pairs = zip(ours.rounds, row.rounds, strict=True)
    found = [mine.value(case) / theirs.value(case) for mine, theirs in pairs]
    return [1 / one for one in found] if case.unit == "ms" else found


def _table(case: Case, rows: list[Row]) -> Table:
    table = Table(title=f"{case.name}: {case.text}", title_justify="left")
    for name in ("server", "set up", "median", "Penstock ahead by", "spread", "CPU us/request"):
        table.add_column(name, justify="left" if name in ("server", "set up") else "right")
    ours = _ours(rows, case)
    for row in rows:
        if not row.rounds:
            table.add_row(row.server, row.absent.splitlines()[0], "", "", "", "")
            continue
        ratios = [] if ours is None else _ratios(ours, row, case)
        unit = "ms" if case.unit == "ms" else "/s"
        table.add_row(
            row.server,
            str(row.tuning),
            f"{row.value(case):,.2f} {unit}" if unit == "ms" else f"{row.value(case):,.0f}{unit}",
            f"{statistics.median(ratios):.2f}" if ratios else "",
            f"{min(ratios):.2f}..{max(ratios):.2f}" if ratios else "",
            f"{statistics.median(one.work_us for one in row.rounds):,.0f}",
        )
    return table


def _keep(found: dict[str, list[Row]], options: argparse.Namespace) -> None:
    """Write all rounds to results/peers.json."""
    RESULTS.mkdir(exist_ok=True)
    plain = {
        "cores": cores(),
        "load": os.getloadavg(),
        "rounds": options.rounds,
        "seconds": options.seconds,
        "requirements": REQUIREMENTS,
        "cases": {
            name: [
                {
                    "server": row.server,
                    "set up": str(row.tuning),
                    "absent": row.absent,
                    "rounds": [one._asdict() for one in row.rounds],
                }
                for row in rows
            ]
            for name, rows in found.items()
        },
    }
    (RESULTS / "peers.json").write_text(json.dumps(plain, indent=1) + "\n")


if __name__ == "__main__":
    main()
