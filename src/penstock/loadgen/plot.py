"""The distribution of the latencies as a picture (matplotlib; PNG, SVG or PDF by the file's name).

The horizontal axis gives each nine of the quantile the same width, as HdrHistogram's plots do, so
that the tail can be read.
"""

import math
from pathlib import Path

from penstock.errors import InvalidRequest
from penstock.loadgen.outcome import Outcome

FORMATS = (".png", ".svg", ".pdf")

_POINTS_PER_NINE = 40


def check_format(file: Path) -> None:
    """Refuse a file name that `draw` could not write.

    Raises:
        InvalidRequest: naming the formats that it can.
    """
    if file.suffix.lower() not in FORMATS:
        raise InvalidRequest(f"--plot {file}: the name must end in {', '.join(FORMATS)}")


def quantiles(count: int) -> list[float]:
    """The quantiles that *count* values can tell, evenly spread over the nines."""
    nines = math.log10(max(count, 10))
    steps = int(nines * _POINTS_PER_NINE)
    return [1 - 10 ** (-step / _POINTS_PER_NINE) for step in range(steps + 1)]


def draw(outcome: Outcome, file: Path, title: str) -> None:
    """Write the picture to *file*.

    Raises:
        InvalidRequest: nothing was measured.
        ModuleNotFoundError: matplotlib is not installed.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not outcome.latency.count:
        raise InvalidRequest("there is no answer whose latency could be drawn")
    shares = quantiles(outcome.latency.count)
    # Not pyplot: it would keep the figure, and choose a window system.
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    nines = [-math.log10(1 - share) for share in shares]
    axes.plot(nines, [outcome.latency_ms(share) for share in shares], linewidth=1.8)
    ticks = range(int(nines[-1]) + 1)
    axes.set_xticks(
        list(ticks), [f"{100 * (1 - 10.0**-tick):.{max(tick - 2, 0)}f}" for tick in ticks]
    )
    axes.set_xlabel("percentile")
    axes.set_ylabel("latency in ms")
    axes.set_ylim(bottom=0)
    axes.set_xlim(0, nines[-1])
    axes.grid(visible=True, alpha=0.3)
    axes.set_title(title, loc="left", fontsize=11)
    figure.savefig(file, dpi=150)
