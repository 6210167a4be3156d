"""What an encoder of Whisper's layout hears: a log-mel spectrum, as OpenAI's code computes it.

Windows of 25 ms, 10 ms apart (Hann, 400 samples at 16 kHz, mirrored at the ends); filters of equal
area on Slaney's scale of mels, as librosa makes them; decimal logarithms, of which none is more
than 8 below the loudest.
"""

from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from penstock.language.speech.tokens import HOP, RATE

Floats = npt.NDArray[np.float32]

_WINDOW: Final = 400
_LINEAR_HZ: Final = 1000.0
"""Below it mels are 200/3 Hz each; above, 27 of them are a factor of 6.4."""

_HZ_OF_MEL: Final = 200 / 3
_LEAST: Final = 1e-10


def log_mel(samples: Floats, mels: int, frames: int) -> Floats:
    """The spectrum of a window: float32[mels, frames].

    Args:
        samples: float32[count], 16,000 of a second, from -1 to 1; silence follows up to the
            window's end, and what is behind that is not heard.
    """
    length = frames * HOP
    window = np.zeros(length, np.float32)
    window[: min(length, len(samples))] = samples[:length]
    mirrored = np.pad(window, _WINDOW // 2, mode="reflect")
    views = np.lib.stride_tricks.sliding_window_view(mirrored, _WINDOW)[::HOP][:frames]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_WINDOW) / _WINDOW)
    power = np.abs(np.fft.rfft(views * hann, axis=1)) ** 2
    logs = np.log10(np.maximum(mel_filters(mels) @ power.T, _LEAST))
    logs = np.maximum(logs, logs.max() - 8)
    found: Floats = ((logs + 4) / 4).astype(np.float32)
    return found


@lru_cache(maxsize=4)
def mel_filters(mels: int) -> npt.NDArray[np.float64]:
    """How much of each frequency each band has: float64[mels, 201]."""
    edges = _hz(np.linspace(0, _mel(RATE / 2), mels + 2))
    frequencies = np.linspace(0, RATE / 2, _WINDOW // 2 + 1)
    rising = (frequencies - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - frequencies) / np.diff(edges)[1:, None]
    triangles = np.maximum(0, np.minimum(rising, falling))
    filters: npt.NDArray[np.float64] = triangles * (2 / (edges[2:] - edges[:-2]))[:, None]
    return filters


def _mel(hz: float) -> float:
    if hz < _LINEAR_HZ:
        return hz / _HZ_OF_MEL
    return float(_LINEAR_HZ / _HZ_OF_MEL + np.log(hz / _LINEAR_HZ) / (np.log(6.4) / 27))


def _hz(mel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    above = mel - _LINEAR_HZ / _HZ_OF_MEL
    logarithmic = _LINEAR_HZ * np.exp(np.log(6.4) / 27 * above)
    return np.where(above < 0, mel * _HZ_OF_MEL, logarithmic)
