"""Samples of a WAV file, at 16 kHz and of one channel, as models of speech hear them."""

import io
import math
import wave
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from penstock.errors import InvalidRequest
from penstock.language.speech.tokens import RATE

Floats = npt.NDArray[np.float32]

MOST_S: Final = 900.0
"""Seconds of audio in a file: 58 MB of samples."""

_RATES: Final = range(4_000, 192_001)
_MOST_CHANNELS: Final = 8
_CROSSINGS: Final = 16
"""Zeros of the filter on each side, by which a rate is changed."""

_AT_ONCE: Final = 1 << 13
"""Samples that are made in one product, so that little memory is taken."""

_OTHERS: Final = {
    b"fLaC": "FLAC",
    b"OggS": "Ogg",
    b"ID3": "MP3",
    b"\xff\xfb": "MP3",
    b"\xff\xf3": "MP3",
    b"\x1aE\xdf\xa3": "WebM or Matroska",
    b"FORM": "AIFF",
    b"RF64": "RF64, WAV of more than 4 GB",
}
"""How files of other kinds begin."""


class NoWav(InvalidRequest):
    """The file is none that is read here; says what to send."""


def samples_of(content: bytes) -> Floats:
    """float32[samples] from -1 to 1, 16,000 of a second; channels are mixed.

    Raises:
        NoWav: it is no WAV file of whole numbers, or damaged; or it has no audio, or too much.
    """
    _refuse_others(content)
    try:
        with wave.open(io.BytesIO(_plain(content))) as file:
            channels, width, rate = file.getnchannels(), file.getsampwidth(), file.getframerate()
            _check(channels, width, rate)
            # As many as there are: a header that was written before the end says anything.
            frames = file.readframes(int(MOST_S * rate) + 1)
    except (wave.Error, EOFError, ValueError, RuntimeError) as error:
        raise NoWav(f"the file is no WAV that can be read ({error}): {_SEND}") from error
    count = len(frames) // (channels * width)
    if not 0 < count <= MOST_S * rate:
        there = "no audio" if not count else f"more than {MOST_S:.0f} seconds"
        raise NoWav(f"the file has {there}: send from one sample to {MOST_S:.0f} seconds")
    mixed = _mixed(frames[: count * channels * width], channels, width)
    return mixed if rate == RATE else resampled(mixed, rate)


_SEND: Final = (
    "send WAV with 8, 16, 24 or 32 bits a sample (PCM); "
    "ffmpeg -i IN -ac 1 -ar 16000 -c:a pcm_s16le OUT.wav makes one"
)


def _refuse_others(content: bytes) -> None:
    kind = next((name for begin, name in _OTHERS.items() if content.startswith(begin)), None)
    if content[4:8] == b"ftyp":
        kind = "MP4 or M4A"
    if kind is not None:
        raise NoWav(f"the file is {kind}, which is not read here: {_SEND}")
    if content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        raise NoWav(f"the file does not begin as WAV does: {_SEND}")


def _plain(content: bytes) -> bytes:
    """*content*, of the plain kind where it says in the longer form that it has whole numbers.

    It is for more than 16 bits or two channels; `wave` reads it from Python 3.12 on.
    """
    is_long = content[12:16] == b"fmt " and content[20:22] == b"\xfe\xff"
    if not is_long or content[44:46] != b"\1\0":
        return content
    return content[:20] + b"\1\0" + content[22:]


def _check(channels: int, width: int, rate: int) -> None:
    if width not in (1, 2, 3, 4) or not 1 <= channels <= _MOST_CHANNELS or rate not in _RATES:
        raise NoWav(
            f"the file has {channels} channels of {8 * width} bits at {rate} Hz: send 1 to "
            f"{_MOST_CHANNELS} channels of 8 to 32 bits at {_RATES[0]} to {_RATES[-1]} Hz"
        )


def _mixed(frames: bytes, channels: int, width: int) -> Floats:
    """The mean of all channels."""
    if width == 1:
        whole = np.frombuffer(frames, np.uint8).astype(np.float32) - 128
    elif width == 3:
        # The upper three bytes of four.
        bytes_ = np.frombuffer(frames, np.uint8).reshape(-1, 3)
        wide = np.zeros((len(bytes_), 4), np.uint8)
        wide[:, 1:] = bytes_
        whole = wide.view("<i4")[:, 0].astype(np.float32)
    else:
        whole = np.frombuffer(frames, f"<i{width}").astype(np.float32)
    bits = 32 if width == 3 else 8 * width
    mean: Floats = whole.reshape(-1, channels).mean(axis=1, dtype=np.float32)
    return mean * np.float32(2.0 ** (1 - bits))


def resampled(samples: Floats, rate: int) -> Floats:
    """*samples*, *rate* of a second, at 16 kHz: a sinc filter under a Hann window.

    Each made sample is a mean of those around it, by weights that depend on how far the nearest is
    alone; so there are as few sets of weights as the two rates have phases.
    """
    shared = math.gcd(rate, RATE)
    phases, step = RATE // shared, rate // shared
    # Where there are fewer afterwards, what would be heard as something else is cut off.
    narrow = min(1.0, RATE / rate)
    reach = math.ceil(_CROSSINGS / narrow)
    made = np.empty(max(1, len(samples) * phases // step), np.float32)
    near = np.lib.stride_tricks.sliding_window_view(np.pad(samples, reach), 2 * reach)
    around = np.arange(1 - reach, reach + 1)
    for phase in range(min(phases, len(made))):
        first, away = divmod(phase * step, phases)
        weights = _weights(np.asarray(around - away / phases), reach, narrow)
        count = -(-(len(made) - phase) // phases)
        rows = near[first + 1 : first + 1 + (count - 1) * step + 1 : step]
        for begin in range(0, count, _AT_ONCE):
            end = min(count, begin + _AT_ONCE)
            made[phase + begin * phases : phase + (end - 1) * phases + 1 : phases] = (
                rows[begin:end] @ weights
            )
    return made


def _weights(away: npt.NDArray[np.floating[Any]], reach: int, narrow: float) -> Floats:
    """Of samples that are so far away, as many as there are in each second."""
    window = np.cos(np.clip(away / reach, -1, 1) * (np.pi / 2)) ** 2
    weights = np.sinc(away * narrow) * window
    shares: Floats = (weights / weights.sum()).astype(np.float32)
    return shares
