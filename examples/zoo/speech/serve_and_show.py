"""Stream the strip to the cluster, piece by piece, and mark where somebody speaks."""

import numpy as np

from penstock.client import Client
from zoo.common.drawing import GREEN, GREY, RED, figure, svg
from zoo.common.place import Array, Place
from zoo.common.results import Exhibit, Picture, at_least, at_most
from zoo.speech.data import PIECE, RATE, Strip, read
from zoo.speech.export import MODEL

SURE = 0.5
LOUD = 0.1
"""Of the loudest piece of a recording: people pause, and nobody is asked about pauses."""


def show(url: str, _: Place) -> Exhibit:
    """The share of loud speech that is found, and that of chimes and hiss taken for it."""
    strip = read()
    speech = _streamed(url, strip)
    spoken = np.array([part == "speech" for part in strip.parts])
    loudness = np.sqrt((strip.pieces**2).mean(axis=1))
    loud = spoken & (loudness > LOUD * loudness[spoken].max())
    goals = [
        at_least("loud speech that is found", np.mean(speech[loud] > SURE), 0.9),
        at_most("chimes and hiss taken for speech", np.mean(speech[~spoken] > SURE), 0.05),
    ]
    return Exhibit(goals, [_drawn(strip, speech)])


def _streamed(url: str, strip: Strip) -> Array:
    """How surely each piece is speech [n]: one request a piece, one sequence."""
    found = []
    with Client(url) as client:
        for place, piece in enumerate(strip.pieces):
            parameters = {
                "sequence_id": "strip",
                "sequence_start": place == 0,
                "sequence_end": place == len(strip.pieces) - 1,
            }
            answer = client.infer(MODEL, {"sound": piece[None]}, parameters=parameters)
            found.append(answer["speech"][0, 0])
    return np.array(found)


def _drawn(strip: Strip, speech: Array) -> Picture:
    drawn, axes = figure(7.5, 3.2, rows=2)
    wave, sure = axes[:, 0]
    seconds = np.arange(len(strip.pieces)) * PIECE / RATE
    peaks = np.abs(strip.pieces).max(axis=1)
    wave.fill_between(seconds, -peaks, peaks, color=GREY, linewidth=0)
    marked = np.where(speech > SURE, peaks, 0)
    wave.fill_between(seconds, -marked, marked, color=GREEN, linewidth=0)
    wave.set(ylabel="sound", xlim=(0, seconds[-1]), xticks=[])
    sure.plot(seconds, speech, color=GREEN)
    sure.axhline(SURE, color=GREY, linewidth=0.8, linestyle="--")
    for place in range(1, len(strip.parts)):
        if strip.parts[place] != strip.parts[place - 1]:
            for axis in (wave, sure):
                axis.axvline(seconds[place], color=RED, linewidth=0.6)
            sure.text(seconds[place] + 0.1, 1.03, strip.parts[place], color=RED, fontsize=7)
    sure.set(xlabel="seconds", ylabel="speech", xlim=(0, seconds[-1]), ylim=(0, 1.12))
    text = "Green is what the cluster took for speech, 32 ms a request; in red what the part is."
    return Picture("Who speaks when", text, svg(drawn))
