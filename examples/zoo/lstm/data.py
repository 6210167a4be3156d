"""Japanese vowels: nine men say "ae"; twelve LPC cepstrum coefficients a frame, 7 to 29 frames."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from zoo.common.packages import unpacked
from zoo.lstm.network import FEATURES, FRAMES

SAMPLE = Path(__file__).parent / "utterances.npz"
"""Twelve held-out utterances of each speaker, in half precision, for a look without the package."""


@dataclass(frozen=True, slots=True)
class Utterances:
    """Frames [n, 29, 12], zeros behind the end; lengths [n, 1]; speakers [n], from 0."""

    frames: npt.NDArray[np.float32]
    lengths: npt.NDArray[np.int64]
    speakers: npt.NDArray[np.int64]


def read(part: str) -> Utterances:
    """The utterances of TRAIN or TEST."""
    path = unpacked("aeon") / f"aeon/datasets/data/JapaneseVowels/JapaneseVowels_{part}.ts"
    lines = path.read_text().partition("@data\n")[2].splitlines()
    frames = np.zeros((len(lines), FRAMES, FEATURES), np.float32)
    lengths, speakers = np.zeros((len(lines), 1), np.int64), np.zeros(len(lines), np.int64)
    for place, line in enumerate(lines):
        *features, speaker = line.split(":")
        series = np.array([feature.split(",") for feature in features], np.float32).T
        frames[place, : len(series)] = series
        lengths[place], speakers[place] = len(series), int(speaker) - 1
    return Utterances(frames, lengths, speakers)


def held_out(*, shipped: bool) -> Utterances:
    """TEST, or those that the example brings along."""
    if not shipped:
        return read("TEST")
    with np.load(SAMPLE) as arrays:
        return Utterances(
            arrays["frames"].astype(np.float32), arrays["lengths"], arrays["speakers"]
        )


def write_sample() -> None:
    """Write the utterances that the example brings along."""
    test = read("TEST")
    places = np.concatenate([np.flatnonzero(test.speakers == one)[:12] for one in range(9)])
    np.savez_compressed(
        SAMPLE,
        frames=test.frames[places].astype(np.float16),
        lengths=test.lengths[places],
        speakers=test.speakers[places],
    )
