"""Samples of a WAV file, at 16 kHz and of one channel, as models of speech hear them."""

import math
import struct
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from penstock.errors import InvalidRequest
from penstock.language.speech.tokens import RATE

Floats = npt.NDArray[np.float32]

MOST_S: Final = 900.0
"""Seconds of audio in a file: 58 MB of samples."""

MOST_CHUNKS: Final = 1000
"""Chunks up to that with the samples: a hand full in files that programs write."""

_FIRST_CHUNK: Final = 12
_SHORT_FORM: Final = 16
_LONG_FORM: Final = 26
"""Bytes of a `fmt ` chunk that are read."""

_WHOLE: Final = 1
_EXTENSIBLE: Final = 0xFFFE

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
    channels, width, rate, frames = _read(content)
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


class _Read(NamedTuple):
    """A file's samples, as they are in it.

    Attributes:
        width: bytes of a sample.
        rate: samples of a second, of each channel.
    """

    channels: int
    width: int
    rate: int
    frames: memoryview


def _read(content: bytes) -> _Read:
    """The samples, and what the chunk before them says of these.

    `wave` looks at however many chunks there are, 3 million of no bytes each in a file that may be
    sent, which takes it 10 s. Sizes are not believed: what was written before the end says
    anything.
    """
    form, at = b"", _FIRST_CHUNK
    for _ in range(MOST_CHUNKS):
        kind, size = content[at : at + 4], int.from_bytes(content[at + 4 : at + 8], "little")
        at += 8
        if at > len(content):
            raise _unread("it has no samples")
        if kind == b"fmt ":
            form = content[at : at + min(size, _LONG_FORM)]
        elif kind == b"data":
            return _Read(*_form(form), memoryview(content)[at : at + size])
        at += size + size % 2
    raise _unread(f"there are more than {MOST_CHUNKS} chunks before its samples")


def _form(form: bytes) -> tuple[int, int, int]:
    """Channels, bytes of a sample, and rate, as the chunk `fmt ` has them."""
    if len(form) < _SHORT_FORM:
        raise _unread("nothing says how its samples are written")
    kind, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", form)
    if kind == _EXTENSIBLE and len(form) == _LONG_FORM:
        # It is for more than 16 bits or two channels, and says at its end what it is.
        kind = int.from_bytes(form[-2:], "little")
    if kind != _WHOLE:
        raise _unread(f"its samples are of kind {kind}, which is not whole numbers")
    width = (bits + 7) // 8
    _check(channels, width, rate)
    return channels, width, rate


def _unread(why: str) -> NoWav:
    return NoWav(f"the file is no WAV that can be read ({why}): {_SEND}")


def _check(channels: int, width: int, rate: int) -> None:
    if width not in (1, 2, 3, 4) or not 1 <= channels <= _MOST_CHANNELS or rate not in _RATES:
        raise NoWav(
            f"the file has {channels} channels of {8 * width} bits at {rate} Hz: send 1 to "
            f"{_MOST_CHANNELS} channels of 8 to 32 bits at {_RATES[0]} to {_RATES[-1]} Hz"
        )


def _mixed(frames: memoryview, channels: int, width: int) -> Floats:
    """The mean of all channels."""
    if width == 1:
        whole = np.frombuffer(frames, np.uint8).astype(np.float32)
        whole -= 128
    elif width == 3:
        # The upper three bytes of four.
        bytes_ = np.frombuffer(frames, np.uint8).reshape(-1, 3)
        wide = np.zeros((len(bytes_), 4), np.uint8)
        wide[:, 1:] = bytes_
        whole = wide.view("<i4")[:, 0].astype(np.float32)
    else:
        whole = np.frombuffer(frames, f"<i{width}").astype(np.float32)
    bits = 32 if width == 3 else 8 * width
    mean = whole
    if channels > 1:
        mean = whole.reshape(-1, channels).mean(axis=1, dtype=np.float32)
    mean *= np.float32(2.0 ** (1 - bits))
    return mean


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
