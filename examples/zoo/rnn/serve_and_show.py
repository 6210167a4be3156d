"""Send three centuries of sunspots as one sequence, and draw what was forecast."""

import numpy as np

from penstock.client import Client
from zoo.common.drawing import BLUE, GREY, RED, figure, svg
from zoo.common.place import Array, Place
from zoo.common.results import Exhibit, Picture, at_most
from zoo.rnn.data import SEEN_UNTIL, read

SEQUENCE = 1700


def show(url: str, _: Place) -> Exhibit:
    """The error on the years held out, beside that of saying "as this year"."""
    years, spots = read()
    forecasts = _asked(url, spots)
    held_out = years[:-1] >= SEEN_UNTIL
    truth, same = spots[1:], spots[:-1]
    error = _error(forecasts[:-1][held_out], truth[held_out])
    persistence = _error(same[held_out], truth[held_out])
    goals = [
        at_most(
            f"forecast error / that of persistence ({persistence:.1f})", error / persistence, 0.8
        )
    ]
    return Exhibit(goals, [_drawn(years, spots, forecasts)])


def _asked(url: str, spots: Array) -> Array:
    """The forecasts [years, 1]: one request a year, the state carried by the cluster."""
    found = []
    with Client(url) as client:
        for place, year in enumerate(spots):
            answer = client.infer(
                "sunspots",
                {"spots": year[None]},
                parameters={
                    "sequence_id": SEQUENCE,
                    "sequence_start": place == 0,
                    "sequence_end": place == len(spots) - 1,
                },
            )
            found.append(answer["forecast"][0])
    return np.array(found)


def _error(found: Array, truth: Array) -> float:
    return float(np.sqrt(np.mean((found - truth) ** 2)))


def _drawn(years: Array, spots: Array, forecasts: Array) -> Picture:
    drawn, axes = figure(7.5, 2.6)
    (axis,) = axes[0]
    axis.plot(years, spots[:, 0], color=GREY, label="counted")
    axis.plot(years[1:], forecasts[:-1, 0], color=BLUE, linewidth=1, label="forecast a year before")
    axis.axvline(SEEN_UNTIL, color=RED, linewidth=0.8)
    axis.text(SEEN_UNTIL + 1, spots.max() * 0.97, "held out", color=RED, fontsize=8)
    axis.set(xlim=(1800, 2008), xlabel="year", ylabel="sunspots")
    axis.legend(frameon=False, loc="upper left")
    text = "Each point of the forecast is one request; what came before lies in the cluster."
    return Picture("Sunspots, a year ahead", text, svg(drawn))
