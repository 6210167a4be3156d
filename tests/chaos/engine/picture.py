"""Latency and throughput of a run over time, with its faults marked."""

from collections import Counter

from chaos.engine.history import FAIL, OK, UNKNOWN
from chaos.engine.measures import faults_of, requests_of

_SLICE_S = 0.25
_COLOURS = {OK: "tab:blue", FAIL: "tab:red", UNKNOWN: "tab:orange"}


def draw(run, file):
    """Draw it into a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    start_s = run.events[0].at_s
    ended = [one for one in requests_of(run.events).values() if one.end_s is not None]
    figure = Figure(figsize=(9, 5), layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True)
    for kind, colour in _COLOURS.items():
        found = [
            (one.end_s - start_s, 1000 * (one.end_s - one.begin_s))
            for one in ended
            if one.kind == kind
        ]
        if found:
            above.plot(*zip(*found, strict=True), ".", color=colour, markersize=2, label=kind)
    above.set_yscale("log")
    above.set_ylabel("latency in ms")
    slices = Counter(int((one.end_s - start_s) / _SLICE_S) for one in ended if one.kind == OK)
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
