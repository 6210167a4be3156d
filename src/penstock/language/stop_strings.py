"""Stop strings: texts that end an answer, found however they are spread over its pieces."""

from collections.abc import Sequence


class StopStrings:
    """Cuts an answer before the first of its stop strings.

    Text that may be the beginning of one is held back until that is decided.

    Attributes:
        found: the stop string that ended the answer, if one did.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = [stop for stop in stops if stop]
        self._held = ""
        self.found: str | None = None

    def push(self, piece: str) -> str:
        """What of the answer is certain once *piece* has come; "" after the end."""
        if self.found is not None:
            return ""
        text = self._held + piece
        # The first that is complete counts, since pieces show no other; of several, the longest.
        found = [(stop, at) for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            stop, at = min(found, key=lambda one: (one[1] + len(one[0]), one[1]))
            self.found, self._held = stop, ""
            return text[:at]
        keep = max((_overlap(text, one) for one in self._stops), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def flush(self) -> str:
        """What was held back, at the end of the answer: it was no stop string."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of *text* are the beginning of *stop*."""
    most = min(len(text), len(stop) - 1)
    return next((n for n in range(most, 0, -1) if text.endswith(stop[:n])), 0)
