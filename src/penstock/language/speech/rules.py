"""Which token of a transcript may come next: a function of the request and of its log.

The log of an answer begins with what its prompt leaves open of its head: the language that is
heard, what to do, and that there are no timestamps. Behind it are words alone, or words between
pairs of timestamps, by the rules of OpenAI's decoder.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from penstock.language.speech.tokens import Speech

Floats = npt.NDArray[np.float32]

_LATEST_BEGINNING: Final = 50
"""Timestamp tokens from the window's beginning to the latest where a text may begin: 1 s."""


class Rules:
    """The rules of one model."""

    def __init__(self, speech: Speech, vocabulary: int) -> None:
        self._speech = speech
        self._languages = np.array(sorted(speech.languages.values()), np.int64)
        self._never = _within(speech.suppressed, vocabulary)
        self._never_first = _within(speech.suppressed_first, vocabulary)

    def masked(
        self, logits: Floats, prompt: Sequence[int], log: Sequence[int], *, timestamps: bool
    ) -> Floats:
        """*logits*, float32[vocabulary], with -inf for what must not follow *prompt* and *log*."""
        speech = self._speech
        head = _head_of(prompt, speech.begin)
        said = [*(head or ()), *log]
        length = 0 if head is None else self._head_length(timestamps=timestamps)
        forced = self._forced(len(said), length)
        if forced is not None:
            only = np.full_like(logits, -np.inf)
            only[forced] = logits[forced]
            return only
        text = said[length:]
        masked = logits.copy()
        masked[speech.begin : speech.first_timestamp] = -np.inf
        masked[self._never] = -np.inf
        if not text:
            masked[self._never_first] = -np.inf
        if timestamps:
            self._mask_times(masked, text)
        else:
            masked[speech.first_timestamp :] = -np.inf
        return masked

    def _head_length(self, *, timestamps: bool) -> int:
        return (2 if len(self._languages) else 0) + (not timestamps)

    def _forced(self, said: int, length: int) -> npt.NDArray[np.int64] | int | None:
        """What must come where *said* of so many tokens of the head are there; None behind it."""
        if said >= length:
            return None
        if len(self._languages) and said < 2:
            return self._languages if said == 0 else self._speech.transcribe
        return self._speech.no_timestamps

    def _mask_times(self, masked: Floats, text: Sequence[int]) -> None:
        """Timestamps come in pairs, never go back, and one begins the text."""
        first = self._speech.first_timestamp
        if not text:
            masked[:first] = -np.inf
            masked[first + _LATEST_BEGINNING + 1 :] = -np.inf
            return
        is_time = text[-1] >= first
        was_time = len(text) < 2 or text[-2] >= first
        if is_time and was_time:
            masked[first:] = -np.inf
        elif is_time:
            # Only the next piece's beginning, or the end.
            masked[: self._speech.end] = -np.inf
        times = [token for token in text if token >= first]
        if times:
            # A piece has a length: it ends later than it begins.
            masked[first : times[-1] + (not (is_time and not was_time))] = -np.inf
        if _sum_of(masked[first:]) > masked[:first].max():
            masked[:first] = -np.inf


def _head_of(prompt: Sequence[int], begin: int) -> Sequence[int] | None:
    """What of *prompt* is behind its last token *begin*; None where it has no such token."""
    backwards = list(reversed(prompt))
    return prompt[len(prompt) - backwards.index(begin) :] if begin in backwards else None


def _sum_of(logits: Floats) -> float:
    """The logarithm of the sum of what they are logarithms of."""
    most = float(logits.max()) if len(logits) else -np.inf
    if most == -np.inf:
        return most
    return most + float(np.log(np.exp(logits - most, dtype=np.float64).sum()))


def _within(tokens: Sequence[int], vocabulary: int) -> npt.NDArray[np.int64]:
    return np.array([token for token in tokens if 0 <= token < vocabulary], np.int64)
