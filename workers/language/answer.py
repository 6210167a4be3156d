"""An answer as it grows: its prompt, its log, and how far both are in the cache."""

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from penstock.language.finish import Finish, finish_of
from penstock.language.grammar.masks import Mask
from penstock.language.log.entries import prompt_entries
from penstock.language.options import DecodingOptions


@dataclass(eq=False, slots=True)
class Answer:
    """One answer.

    Attributes:
        prompt: tokens, at least one.
        log: those of the answer so far; some may be there already, where another worker began it.
        cached: tokens of both whose keys and values are in its slot.
        caller: whose it is; None where nobody may have part in what is computed for it.
        reused: of the cached ones, those that were computed for answers before it.
        mask: where it is sampled, what its structure allows next; it follows from options and log.
        audio: what it is about, of a model of speech: samples at 16 kHz.
        echoed: words of the prompt's entries, until they enter the log with the first token.
    """

    prompt: list[int]
    options: DecodingOptions
    log: list[int] = field(default_factory=list)
    cached: int = 0
    caller: str | None = None
    reused: int = 0
    mask: Mask | None = field(default=None, repr=False)
    audio: npt.NDArray[np.float32] | None = field(default=None, repr=False)
    echoed: list[int] = field(default_factory=list, repr=False)

    @property
    def echoes(self) -> bool:
        """Whether its log is to begin with entries of its prompt, and they are not in it yet."""
        return not self.log and prompt_entries(self.options, len(self.prompt)) > 0

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
        ended = finish_of(self.log, self.options, end_tokens)
        return ended or (Finish.LENGTH if self.length >= capacity else None)
