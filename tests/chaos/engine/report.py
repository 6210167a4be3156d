"""A table of all runs, and what they come to together."""

import json

from chaos.engine.measures import HARMS, quantile


class Report:
    """Collects the rows of runs; `finish` writes them down.

    Attributes:
        rows: what `measures.row_of` gives; rows of other processes may be added.
    """

    def __init__(self, folder):
        self._folder = folder
        self.rows = []

    def finish(self):
        """Write ``summary.md`` and ``summary.json``; the table for a terminal."""
        self.rows.sort(key=lambda row: (row["run"], row["seed"]))
        shown = [_shown(row) for row in self.rows]
        names = list(shown[0])
        cells = [names, *([str(row[name]) for name in names] for row in shown)]
        marked = [cells[0], ["---"] * len(names), *cells[1:]]
        table = "\n".join(f"| {' | '.join(line)} |" for line in marked)
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / "summary.md").write_text(f"# Faults\n\n{self.total()}\n\n{table}\n")
        (self._folder / "summary.json").write_text(json.dumps(self.rows, indent=1))
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = ["  ".join(w.ljust(n) for w, n in zip(row, widths, strict=True)) for row in cells]
        return "\n".join([*(line.rstrip() for line in lines), "", self.total(), ""])

    def total(self):
        """All runs in one sentence."""
        sums = {name: sum(row[name] for row in self.rows) for name in ("faults", "requests")}
        harms = ", ".join(f"{name} {sum(row[name] for row in self.rows)}" for name in HARMS)
        took = sorted(seconds for row in self.rows for seconds in row["recoveries"])
        held = sum(row["verdict"] == "holds" for row in self.rows)
        seeds = ",".join(str(seed) for seed in sorted({row["seed"] for row in self.rows}))
        return (
            f"{held} of {len(self.rows)} runs hold: {sums['faults']} faults, "
            f"{sums['requests']} requests, {harms}; recovery p50 {_seconds(took, 0.5)}, "
            f"p99 {_seconds(took, 0.99)}, max {_seconds(took, 1)}. Again: CHAOS_SEED={seeds}"
        )


def _shown(row):
    """As `row`, with "-" for what there is not, and recoveries by their middle and their end."""
    took = sorted(row["recoveries"])
    recovery = {"recovery p50": _seconds(took, 0.5), "max": _seconds(took, 1)}
    before = {name: value for name, value in row.items() if name not in ("recoveries", "verdict")}
    values = before | recovery | {"verdict": row["verdict"]}
    return {name: "-" if value is None else value for name, value in values.items()}


def _seconds(ordered, share):
    return f"{quantile(ordered, share):.2f} s" if ordered else "-"
