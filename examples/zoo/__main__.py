"""Train, export, serve and show every kind of the zoo on one cluster; write one page about it.

make zoo                  all of it
make zoo ONLY="rnn lstm"  some
make zoo SHIPPED=1        no training: what the repository brings along, in a minute
"""

import argparse
import asyncio
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from digits.cluster import Cluster, ClusterFailed
from rich.console import Console
from rich.table import Table

from zoo.common.packages import NotThere
from zoo.common.progress import Stages
from zoo.common.report import write_report
from zoo.common.results import Record
from zoo.kinds import KINDS

if TYPE_CHECKING:
    from zoo.stages import Prepared


def main() -> int:
    """Run it; 0 if every goal is met."""
    options, console = _options(), Console(highlight=False)
    began = time.monotonic()
    try:
        records = asyncio.run(_run(console, options))
    except (ClusterFailed, NotThere) as failure:
        console.print(f"[red]✗[/] {failure}")
        return 1
    except KeyboardInterrupt:
        console.print("Interrupted; the cluster is stopped.")
        return 130
    page = options.report / "index.html"
    write_report(page, records)
    _print(console, records)
    console.print(f"{time.monotonic() - began:.0f} s. Look at it: {page.resolve()}")
    return 0 if all(record.met for record in records) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="zoo", description=__doc__.splitlines()[0])
    parser.add_argument("only", nargs="*", choices=[*KINDS, []], metavar="KIND", help="not all")
    parser.add_argument("--report", type=Path, default=Path("zoo-report"), help="the page's folder")
    parser.add_argument("--shipped", action="store_true", help="what is committed, untrained")
    parser.add_argument(
        "--quick", action="store_true", help="for tests: a few steps of what is not committed"
    )
    parser.add_argument("--keep", action="store_true", help="copy artifacts into the examples")
    options = parser.parse_args()
    bare = [name for name in options.only if not KINDS[name].shipped]
    if options.shipped and bare:
        parser.error(f"nothing of {', '.join(bare)} is committed: run it without --shipped")
    return options


async def _run(console: Console, options: argparse.Namespace) -> list[Record]:
    from zoo.stages import prepare_all, shipped

    names = options.only or [k.name for k in KINDS.values() if k.shipped or not options.shipped]
    committed = [k for k in names if KINDS[k].shipped and (options.shipped or options.quick)]
    new = [name for name in names if name not in committed]
    options.report.mkdir(parents=True, exist_ok=True)
    with Stages(console, names) as stages:
        prepared = {name: shipped(name) for name in committed}
        prepared |= prepare_all(new, options.report / "work", stages, quick=options.quick)
        if options.keep:
            for name in new:
                prepared[name].place.keep()
        return await _serve([prepared[name] for name in names], stages)


async def _serve(prepared: "list[Prepared]", stages: Stages) -> list[Record]:
    """Serve all kinds on one cluster, and have each shown."""
    from zoo.stages import show

    folders = [one.place.models for one in prepared]
    options = ["--allow-python-models", "--no-http", "--no-metrics"]
    cluster = Cluster(*folders, options=options)
    stages.all("the cluster starts")
    try:
        await cluster.start()
        return [await show(one, cluster, stages) for one in prepared]
    finally:
        await cluster.stop()


def _print(console: Console, records: list[Record]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for heading in ("Kind", "Measured", "Goal", "Reached", ""):
        table.add_column(heading)
    for record in records:
        for goal in record.exhibit.goals:
            mark = "[green]✓[/]" if goal.met else "[red]✗[/]"
            table.add_row(record.kind, goal.name, goal.aim, f"{goal.reached:.4g}", mark)
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
