"""A table of all runs, and for each a picture of latency and throughput with the faults marked."""

import itertools
import json
from collections import Counter

from chaos.history import FAIL, INVOKE, OK, UNKNOWN

_COLUMNS = ("run", "seed", "calls", "ok", "failed", "p50 ms", "p99 ms", "gap s", "jobs", "verdict")
_SLICE_S = 0.25


class Report:
    """Collects runs; `finish` writes them down."""

    def __init__(self, folder, *, plots):
        self._folder = folder
        self._plots = plots
        self.runs = []

    def add(self, run):
        self.runs.append(_row(run))
        if self._plots and run.count("infer"):
            plot(run, self._folder / f"{run.folder.name}.png")

    def finish(self):
        """Write ``summary.md`` and return the table for a terminal."""
        rows = sorted(self.runs)
        cells = [_COLUMNS, *(tuple(map(str, row)) for row in rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = ["  ".join(w.ljust(n) for w, n in zip(row, widths, strict=True)) for row in cells]
        marked = [" | ".join(row) for row in cells]
        rule = " | ".join("---" for _ in _COLUMNS)
        self._folder.mkdir(parents=True, exist_ok=True)
        text = "\n".join(f"| {line} |" for line in (marked[0], rule, *marked[1:]))
        (self._folder / "summary.md").write_text(f"# Faults\n\n{text}\n")
        (self._folder / "summary.json").write_text(
            json.dumps([dict(zip(_COLUMNS, row, strict=True)) for row in rows], indent=1)
        )
        return "\n".join(line.rstrip() for line in lines) + "\n"


def calls_of(events):
    """(end, seconds taken, kind) of each call that has ended."""
    begun = {e.id: e.at_s for e in events if (e.operation, e.kind) == ("infer", INVOKE)}
    return [
        (e.at_s, e.at_s - begun[e.id], e.kind)
        for e in events
        if e.operation == "infer" and e.kind != INVOKE and e.id in begun
    ]


def _row(run):
    calls = calls_of(run.events)
    kinds = Counter(kind for _, _, kind in calls)
    took = sorted(took_s for _, took_s, kind in calls if kind == OK)
    ends = sorted(end_s for end_s, _, kind in calls if kind == OK)
    gap_s = max((b - a for a, b in itertools.pairwise(ends)), default=0.0)
    return (
        run.name,
        run.seed,
        len(calls),
        kinds[OK],
        kinds[FAIL] + kinds[UNKNOWN],
        _ms(took, 0.5),
        _ms(took, 0.99),
        f"{gap_s:.2f}",
        run.count("enqueue", OK),
        _verdict(run),
    )


def _verdict(run):
    if run.error:
        return f"ended by {run.error}"
    return f"{len(run.violations)} violations" if run.violations else "holds"


def _ms(took, share):
    return f"{1000 * took[min(len(took) - 1, int(share * len(took)))]:.1f}" if took else "-"


def plot(run, file):
    """Draw latency and throughput over time."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    start_s = run.events[0].at_s
    calls = calls_of(run.events)
    figure = Figure(figsize=(9, 5), layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True)
    for kind, colour in ((OK, "tab:blue"), (FAIL, "tab:red"), (UNKNOWN, "tab:orange")):
        found = [(end_s - start_s, 1000 * took_s) for end_s, took_s, k in calls if k == kind]
        if found:
            above.plot(*zip(*found, strict=True), ".", color=colour, markersize=2, label=kind)
    above.set_yscale("log")
    above.set_ylabel("latency in ms")
    slices = Counter(int((end_s - start_s) / _SLICE_S) for end_s, _, kind in calls if kind == OK)
    last = max(slices, default=0)
    below.step(
        [place * _SLICE_S for place in range(last + 1)],
        [slices[place] / _SLICE_S for place in range(last + 1)],
        where="post",
    )
    below.set_ylabel("answers/s")
    below.set_xlabel("seconds")
    below.set_ylim(bottom=0)
    for name, begin_s, end_s in faults_of(run.events):
        for axes in (above, below):
            axes.axvspan(begin_s - start_s, end_s - start_s, color="tab:red", alpha=0.15, lw=1)
        place = {"xycoords": ("data", "axes fraction"), "va": "top", "rotation": 90}
        above.annotate(name, (begin_s - start_s, 0.98), fontsize=6, **place)
    figure.legend(loc="outside upper right", ncols=3, fontsize=8)
    above.set_title(f"{run.name}, seed {run.seed}", loc="left", fontsize=10)
    figure.savefig(file, dpi=130)


def faults_of(events):
    """(name, beginning, end) of each fault."""
    open_s, found = {}, []
    for event in events:
        if event.operation != "fault":
            continue
        if event.kind == INVOKE:
            open_s[event.id] = event.at_s
        elif event.id in open_s:
            found.append((event.id, open_s.pop(event.id), event.at_s))
    return found
