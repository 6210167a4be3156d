"""Structured answers where they are sampled: what each may go on with, waited for together."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from penstock.clock import monotonic
from penstock.language.grammar.grammars import Grammars, Stuck, Tokens
from penstock.language.grammar.masks import PATIENCE_S, Mask, MaskThreads
from penstock.language.grammar.structure import Structure
from penstock.language.manifest import Manifest
from penstock.language.tokenizer import read_text
from penstock.workers.language.answer import Answer

NOT_YET: Final = 0xFFFF_FFFF
"""In the place of a token: none has been found in time, there will be one in a later step."""

STUCK: Final = 0xFFFF_FFFE
"""In the place of a token: there is none, so the answer ends in an error."""

WHY_STUCK: Final = (
    "the answer cannot go on: no token fits what its structure allows next, or finding one takes "
    "more than the bounds; make the schema or grammar simpler"
)


class Structured:
    """The structured answers of a last stage. Belongs to one thread."""

    def __init__(self, directory: Path, manifest: Manifest, patience_s: float = PATIENCE_S) -> None:
        """Of the version in *directory*: its tokenizer is read once one is needed.

        Args:
            patience_s: a step waits so long for all masks together.
        """

        def grammars() -> Grammars:
            text = read_text(directory).decode()
            return Grammars.of(text, manifest.vocabulary, manifest.end_tokens)

        self._threads = MaskThreads(grammars)
        self._patience_s = patience_s

    def check(self, structure: Structure) -> None:
        """Prepare *structure*, to see whether that can be done here.

        Raises:
            InvalidRequest: it cannot be used; says why.
            ArtifactUnusable: the model has no grammars.
        """
        self._threads.begin(lambda grammars: grammars.begin(structure)).result()

    def take(self, answer: Answer) -> None:
        """Prepare for *answer*, which is about to go on from its log."""
        structure = answer.options.structured_outputs
        if structure is not None:
            answer.mask = Mask(self._threads, structure, answer.log)

    def allowed(self, answers: Sequence[Answer]) -> list[Tokens | int | None]:
        """What each may go on with: None for all tokens; NOT_YET or STUCK instead of any."""
        ends_s = monotonic() + self._patience_s
        return [self._after(answer, ends_s) for answer in answers]

    def _after(self, answer: Answer, ends_s: float) -> Tokens | int | None:
        if answer.mask is None:
            self.take(answer)
        if answer.mask is None:
            return None
        try:
            found = answer.mask.after(answer.log, ends_s - monotonic())
        except Stuck:
            return STUCK
        return NOT_YET if found is None else found

    def took(self, answers: Sequence[Answer], tokens: Sequence[int]) -> None:
        """*tokens* are the next ones of *answers*: look for what may follow."""
        for answer, token in zip(answers, tokens, strict=True):
            if answer.mask is not None and is_token(token):
                answer.mask.took(token)


def is_token(token: int) -> bool:
    """Whether it is one, and no word of what there is instead."""
    return token < STUCK
