"""Segments of a transcript: its pieces, and when each begins and ends; also as subtitles."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from penstock.language.speech.tokens import TIMESTAMP_S, Speech


class Segment(NamedTuple):
    """A piece of a transcript.

    Attributes:
        begin_s, end_s: seconds from the beginning of the audio.
        places: of its tokens in the answer, its timestamps too: the first, and behind the last.
    """

    begin_s: float
    end_s: float
    text: str
    tokens: tuple[int, ...]
    places: tuple[int, int]


def segments_of(
    speech: Speech,
    decode: Callable[[Sequence[int]], str],
    answer: Sequence[int],
    begin_s: float,
    length_s: float,
) -> Iterator[Segment]:
    """The pieces of an *answer* with timestamps about *length_s* seconds that begin at *begin_s*.

    One that the answer leaves open ends with what was heard. Pieces without text are none.
    """
    first, opened, words, place = speech.first_timestamp, 0.0, list[int](), 0
    for at, token in enumerate(answer):
        if token < first:
            words += [token] if token < speech.end else []
            continue
        time_s = min((token - first) * TIMESTAMP_S, length_s)
        if words:
            yield _segment(decode, words, (begin_s + opened, begin_s + time_s), (place, at + 1))
        opened, words, place = time_s, [], at
    if words:
        yield _segment(decode, words, (begin_s + opened, begin_s + length_s), (place, len(answer)))


def _segment(
    decode: Callable[[Sequence[int]], str],
    words: Sequence[int],
    times: tuple[float, float],
    places: tuple[int, int],
) -> Segment:
    begin_s, end_s = (round(time, 3) for time in times)
    return Segment(begin_s, end_s, decode(words), tuple(words), places)


def as_srt(segments: Sequence[Segment]) -> str:
    """SubRip's form."""
    pieces = (
        f"{number}\n{_clock(one.begin_s, ',')} --> {_clock(one.end_s, ',')}\n{one.text.strip()}\n"
        for number, one in enumerate(segments, 1)
    )
    return "\n".join(pieces)


def as_vtt(segments: Sequence[Segment]) -> str:
    """The form of WebVTT."""
    pieces = (
        f"\n{_clock(one.begin_s, '.')} --> {_clock(one.end_s, '.')}\n{_unarrowed(one.text)}\n"
        for one in segments
    )
    return "WEBVTT\n" + "".join(pieces)


def _unarrowed(text: str) -> str:
    """An arrow would be read as times."""
    return text.strip().replace("-->", "->")


def _clock(seconds: float, point: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{rest // 1000:02}{point}{rest % 1000:03}"
