"""``make bench``: measure what docs/benchmarks.md promises, and print it as a table of ratios.

    python bench/run.py [--only W1 W4] [--rounds N] [--quick] [--json]

Results also go to bench/results/latest.json and latest.md. The exit status is 1 when a goal was
missed.
"""

import argparse
import importlib.metadata
import json
import platform
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from cases import CASES, Effort, Result, cores, measure, named, side
from front import FrontResult
from front import measure as measure_front
from many import MODELS, ManyResult, measure_many
from memory import MemoryResult, measure_memory
from rich.console import Console
from rich.table import Table
from servers import RESULTS

_COLUMNS = ("case", "what", "Penstock", "reference", "value", "spread", "goal", "")
_LEGEND = (
    "value: Penstock to reference, W1-one: the difference in ms; the median of the rounds\n"
    "spread: the least and the greatest of these. See docs/benchmarks.md"
)


Whole = MemoryResult | ManyResult | FrontResult
"""What is no ratio of two sides, round by round."""


_WHOLE: dict[str, Callable[[bool], Whole]] = {
    "memory": lambda quick: measure_memory(10_000 if quick else 100_000),
    "many": lambda quick: measure_many(40 if quick else MODELS),
    "front": lambda quick: FrontResult(measure_front(*((1, 1.0) if quick else (3, 4.0)))),
}


def main() -> None:
    """Measure, print, keep."""
    options = _options()
    effort = Effort.of(quick=options.quick, rounds=options.rounds)
    console = Console(stderr=True)
    results: list[Result] = []
    for case in CASES:
        if case.name in options.only:
            with named(case), console.status(case.name) as status:
                results.append(
                    measure(case, effort, lambda text, c=case: status.update(f"{c.name}: {text}"))
                )
    whole: dict[str, Whole] = {}
    for name, measured in _WHOLE.items():
        if name in options.only:
            with console.status(name):
                whole[name] = measured(options.quick)
    facts = _facts(results, whole, effort)
    _keep(facts, results, whole.values())
    if options.json:
        print(json.dumps(facts, indent=2))
    else:
        Console().print(_table(results), f"[dim]{_LEGEND}[/]", sep="\n")
        for one in whole.values():
            Console().print(one.text())
    sys.exit(0 if all(one.reached for one in (*results, *whole.values())) else 1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure Penstock against its ceilings.")
    names = [*(case.name for case in CASES), *_WHOLE]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="CASE")
    parser.add_argument("--rounds", type=int, help="how often each side is measured")
    parser.add_argument("--quick", action="store_true", help="short: for trying, not concluding")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser.parse_args()


def _cells(result: Result) -> tuple[str, ...]:
    case, rounds = result.case, result.rounds
    return (
        case.name,
        case.text,
        side(result.ours, case.unit),
        side(result.theirs, case.unit),
        f"{result.value:.2f}",
        f"{min(rounds):.2f}..{max(rounds):.2f}",
        f"{'<=' if case.unit == 'ms' else '>='} {case.goal:.2f}",
        "✓" if result.reached else "✗",
    )


def _table(results: list[Result]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    for name in _COLUMNS:
        table.add_column(name, justify="left" if name in ("case", "what", "") else "right")
    for result in results:
        table.add_row(*_cells(result), style=None if result.reached else "red")
    return table


def _facts(results: list[Result], whole: Mapping[str, Whole], effort: Effort) -> dict[str, Any]:
    return {
        "measured_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": _machine(),
        "rounds": effort.rounds,
        "results": [result.as_json() for result in results],
        **{name: whole[name].as_json() if name in whole else None for name in _WHOLE},
    }


def _machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    packages = ("penstock", "grpcio", "protobuf", "onnxruntime-gpu", "onnxruntime", "uvloop")
    return {
        "processor": models[0] if models else platform.machine(),
        "cores": cores(),
        "python": platform.python_version(),
        "versions": {name: version for name in packages if (version := _version(name))},
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _keep(facts: dict[str, Any], results: list[Result], whole: Iterable[Whole]) -> None:
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "latest.json").write_text(json.dumps(facts, indent=2) + "\n")
    rows = [_COLUMNS, ("---",) * len(_COLUMNS), *(_cells(result) for result in results)]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    machine = facts["machine"]
    lines += ["", f"{machine['cores']} cores, {machine['processor']}, {facts['measured_at']}."]
    for one in whole:
        lines += ["", one.text()]
    (RESULTS / "latest.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
