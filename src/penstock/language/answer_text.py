"""The text of an answer as its tokens come: characters whole, and nothing behind a stop string."""

from collections.abc import Callable, Collection, Iterable, Sequence

from penstock.language.detokenizer import Detokenizer
from penstock.language.options import DecodingOptions
from penstock.language.stop_strings import StopStrings


class AnswerText:
    """The pieces of one answer's text; joined, they are the same however the tokens come.

    Attributes:
        stopped_by: the stop string that ended it, if one did.
    """

    def __init__(
        self,
        decode: Callable[[Sequence[int]], str],
        options: DecodingOptions,
        end_tokens: Collection[int],
        prompt: Iterable[int] = (),
        plain: Callable[[int], str | None] = lambda _: None,
    ) -> None:
        """*decode* makes the text of tokens; *end_tokens* are the model's, and have none.

        Args:
            plain: as `Tokenizer.plain`.
        """
        self._detokenizer = Detokenizer(decode, prompt, plain)
        self._stops = StopStrings(options.stop)
        self._silent = options.stop_tokens | (
            frozenset() if options.ignore_end else frozenset(end_tokens)
        )

    @property
    def stopped_by(self) -> str | None:
        """The stop string that ended it, if one did."""
        return self._stops.found

    def push(self, token: int) -> str:
        """What *token* adds that is certain."""
        return "" if token in self._silent else self._stops.push(self._detokenizer.push(token))

    def flush(self) -> str:
        """What was held back, at the end."""
        last = self._stops.push(self._detokenizer.flush())
        return last + self._stops.flush()
