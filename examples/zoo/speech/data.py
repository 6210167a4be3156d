"""A strip of sound: hiss, a voice, chimes, another voice; who made it knows where speech is."""

import wave
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from zoo.common.packages import unpacked

RATE = 16_000
PIECE = 512
"""Samples of a request: 32 ms."""

Sound = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Strip:
    """Pieces [n, 512] from -1 to 1, and what each is a part of."""

    pieces: Sound
    parts: list[str]


def recording(name: str) -> Sound:
    """One of the recordings of moonshine-voice, at 16 kHz; of 48 kHz each three are one."""
    path = unpacked("moonshine-voice") / "moonshine_voice" / "assets" / f"{name}.wav"
    with wave.open(str(path)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32)
        every = file.getframerate() // RATE
    samples = samples[: len(samples) // every * every].reshape(-1, every).mean(axis=1)
    return (samples / 32768).astype(np.float32)


def read() -> Strip:
    """The strip: some 26 seconds."""
    chance = np.random.default_rng(4)
    hiss = (0.002 * chance.standard_normal(2 * RATE)).astype(np.float32)
    parts = [
        ("hiss", hiss),
        ("speech", recording("clone-test")),
        ("chime", recording("success")),
        ("chime", recording("error")),
        ("hiss", hiss),
        ("speech", recording("beckett")),
        ("hiss", hiss),
    ]
    pieces, names = [], []
    for name, samples in parts:
        whole = samples[: len(samples) // PIECE * PIECE].reshape(-1, PIECE)
        pieces.append(whole)
        names += [name] * len(whole)
    return Strip(np.concatenate(pieces), names)
