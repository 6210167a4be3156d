"""An answer as it grows: its prompt, its log, and how far both are in the cache."""

from collections.abc import Collection
from dataclasses import dataclass, field
from enum import StrEnum

from penstock.language.options import DecodingOptions


class Finish(StrEnum):
    """Why an answer ended, in the words of OpenAI's API."""

    STOP = "stop"
    LENGTH = "length"


@dataclass(eq=False, slots=True)
class Answer:
    """One answer.

    Attributes:
        prompt: tokens, at least one.
        log: those of the answer so far; some may be there already, where another worker began it.
        cached: tokens of both whose keys and values are in its slot.
    """

    prompt: list[int]
    options: DecodingOptions
    log: list[int] = field(default_factory=list)
    cached: int = 0

    @property
    def length(self) -> int:
        """Tokens of prompt and log."""
        return len(self.prompt) + len(self.log)

    @property
    def is_read(self) -> bool:
        """Whether all but its last token is in the cache."""
        return self.cached >= self.length - 1

    def token(self, position: int) -> int:
        """The token at *position*."""
        at = position - len(self.prompt)
        return self.prompt[position] if at < 0 else self.log[at]

    def finish(self, end_tokens: Collection[int], capacity: int) -> Finish | None:
        """Whether its log ends it: a function of the request and the log.

        Args:
            end_tokens: the model's.
            capacity: the most tokens that there is room for.
        """
        if self.log:
            last, options = self.log[-1], self.options
            if last in options.stop_tokens or (last in end_tokens and not options.ignore_end):
                return Finish.STOP
            if options.max_tokens is not None and len(self.log) >= options.max_tokens:
                return Finish.LENGTH
        return Finish.LENGTH if self.length >= capacity else None
