"""The detokenizer: text from tokens as they come, with half characters held back.

What a token adds depends on those before it: a character may be spread over several tokens, and
some tokenizers drop a space where a text begins. So a few tokens are decoded again each time,
never all of them: the work for a token does not grow with the answer. Most tokens are whole
characters by themselves, and then nothing is decoded.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from penstock.language.tokenizer import UNFINISHED

_MOST_HELD: Final = 8
"""Tokens that one character may take: four bytes, and some to spare; then it is none."""


class Detokenizer:
    """The text of one answer, token by token.

    The pieces that it gives, joined, are the same however the tokens come.
    """

    def __init__(
        self,
        decode: Callable[[Sequence[int]], str],
        before: Iterable[int] = (),
        plain: Callable[[int], str | None] = lambda _: None,
    ) -> None:
        """*decode* makes the text of tokens; *before* are those that the answer follows.

        Args:
            plain: as `Tokenizer.plain`.
        """
        self._decode = decode
        self._plain = plain
        # Whether the text so far may end within a character.
        self._is_cut = True
        # Tokens whose text has been given, as far as later ones need them, and those held back.
        self._given = list(before)[-_MOST_HELD:]
        self._held: list[int] = []

    def push(self, token: int) -> str:
        """What *token* adds to the text: nothing while it ends within a character."""
        if not self._is_cut and (text := self._plain(token)) is not None:
            self._given = [*self._given[1 - _MOST_HELD :], token]
            return text
        self._held.append(token)
        text = self._new_text()
        self._is_cut = text.endswith(UNFINISHED)
        if self._is_cut and len(self._held) < _MOST_HELD:
            return ""
        return self._give(text)

    def flush(self) -> str:
        """What was held back, at the end of the answer; half a character becomes U+FFFD."""
        return self._give(self._new_text()) if self._held else ""

    def _new_text(self) -> str:
        before = self._decode(self._given)
        return self._decode([*self._given, *self._held])[len(before) :]

    def _give(self, text: str) -> str:
        self._given, self._held = (self._given + self._held)[-_MOST_HELD:], []
        return text
