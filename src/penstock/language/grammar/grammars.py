"""Grammars: which tokens of a model may come next in a structure; llguidance's, within bounds.

What is here is given by strangers, and libraries in other languages may end their process over it:
gateways try it in a process of its own (checks.py) before anybody else does.
"""

from collections.abc import Collection, Iterable
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from penstock.errors import ArtifactUnusable, InvalidRequest
from penstock.language.grammar.structure import Kind, Structure

Tokens = npt.NDArray[np.int64]

_WHITESPACE: Final = r"\x20|\x0A[\x20\x09]{0,20}"
"""Between the parts of JSON: a space, or a new line with its indentation. Never without end."""

_LIMITS: Final = {
    "max_items_in_row": 2_000,
    "initial_lexer_fuel": 1_000_000,
    "step_lexer_fuel": 200_000,
    "step_max_items": 50_000,
    "max_lexer_states": 20_000,
    "max_grammar_size": 100_000,
    "verbose_errors": False,
}
"""llguidance's: a step takes some tens of milliseconds at most, an answer some tens of MB."""

_MOST_ERROR: Final = 300


class Stuck(Exception):
    """No token can come next, though the answer is not complete; or none is found in time."""


class Allowed:
    """What may come next in one answer, token by token. Belongs to one thread at a time."""

    def __init__(self, matcher: Any) -> None:
        self._matcher = matcher

    def take(self, tokens: Iterable[int]) -> None:
        """These come next in the answer.

        Raises:
            Stuck: they cannot.
        """
        if not self._matcher.consume_tokens(list(tokens)):
            raise Stuck(_said(self._matcher.get_error()))

    def tokens(self) -> Tokens:
        """int64[count], ascending: which may come next; the end is one where that may be.

        Raises:
            Stuck: none may, or they are not found within the bounds.
        """
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        if self._matcher.is_error():
            raise Stuck(_said(self._matcher.get_error()))
        found = np.flatnonzero(np.unpackbits(bits, bitorder="little"))
        if not len(found):
            raise Stuck("no token of the model fits")
        return found


class Grammars:
    """Makes grammars for the tokens of one model. Safe to use from several threads."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    @classmethod
    def of(cls, tokenizer: str, vocabulary: int, end_tokens: Collection[int]) -> Self:
        """Those of a model.

        Args:
            tokenizer: its tokenizer.json.
            vocabulary: columns of its logits.
            end_tokens: one at least, each of which ends an answer.

        Raises:
            ArtifactUnusable: there are no grammars for such a tokenizer.
        """
        import llguidance

        if not end_tokens:
            raise ArtifactUnusable("the model has no end token, so no structured answer can end")
        try:
            made = llguidance.LLTokenizer(tokenizer, vocabulary, list(end_tokens))
        except Exception as error:  # the library raises plain ones
            raise ArtifactUnusable(f"no grammars for this tokenizer: {error}") from error
        return cls(made)

    def begin(self, structure: Structure) -> Allowed:
        """What may come in an answer of this structure.

        Raises:
            InvalidRequest: it is none that can be used; says why.
        """
        from llguidance import LLMatcher, LLParserLimits

        limits = LLParserLimits(**_LIMITS)  # type: ignore[arg-type]
        matcher = LLMatcher(self._tokenizer, _grammar(structure), log_level=0, limits=limits)
        if matcher.is_error():
            raise InvalidRequest(_said(matcher.get_error()))
        return Allowed(matcher)


def json_options(*, lenient: bool) -> dict[str, Any]:
    """How schemas are read, as llguidance has it; what a schema says of that itself counts."""
    return {"whitespace_pattern": _WHITESPACE, "lenient": lenient}


def _grammar(structure: Structure) -> str:
    """As llguidance writes it."""
    from llguidance import LLMatcher

    if structure.kind is Kind.REGEX:
        return LLMatcher.grammar_from_regex(structure.text)
    if structure.kind is Kind.GRAMMAR:
        return LLMatcher.grammar_from_lark(structure.text)
    try:
        options = json_options(lenient=structure.lenient)
        return LLMatcher.grammar_from_json_schema(structure.text, options)  # type: ignore[arg-type]
    except ValueError as error:
        raise InvalidRequest(f"the schema cannot be read: {error}") from error


def _said(error: str) -> str:
    """What the library says, shortened, on one line."""
    text = " ".join(error.replace("<non-verbose/>", "").split())
    return text if len(text) <= _MOST_ERROR else text[:_MOST_ERROR] + "..."
