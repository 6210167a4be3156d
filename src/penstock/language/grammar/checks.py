"""Checks: whether a structure can be used, tried in a process that can be stopped."""

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection
from typing import Final

from penstock.errors import InvalidRequest, Unimplemented
from penstock.language.grammar.structure import Structure
from penstock.language.line_process import LineProcess, LineProcessEnded

LIMIT_S: Final = 2.0
"""For one structure; those in use take some milliseconds."""

_MOST_KNOWN: Final = 128
_MOST_LINE: Final = 64 << 10


class StructureRefused(InvalidRequest):
    """No answer can have this structure; says why."""


class Checks:
    """Tries structures for one model, in a process that `close` ends. Safe for several threads."""

    def __init__(
        self,
        tokenizer: Callable[[], str],
        vocabulary: int,
        end_tokens: Collection[int],
        limit_s: float = LIMIT_S,
    ) -> None:
        """Arguments as for `Grammars.of`; nothing is started, or kept, before the first `check`."""

        def model() -> bytes:
            said = {"vocabulary": vocabulary, "end_tokens": sorted(end_tokens)}
            return json.dumps({"tokenizer": tokenizer(), **said}).encode() + b"\n"

        self._limit_s = limit_s
        self._process = LineProcess(
            "penstock.language.grammar.check_process",
            limit_s,
            _MOST_LINE,
            model,
        )
        self._lock = threading.Lock()
        self._fine: OrderedDict[Structure, None] = OrderedDict()

    def is_known(self, structure: Structure) -> bool:
        """Whether it has been tried lately, and can be used."""
        return structure in self._fine

    def check(self, structure: Structure) -> None:
        """Try *structure*; one that was tried lately costs nothing.

        Raises:
            StructureRefused: no answer can have it.
            Unimplemented: nothing can be tried here.
        """
        with self._lock:
            if structure not in self._fine:
                self._try(structure)
                self._fine[structure] = None
            self._fine.move_to_end(structure)
            while len(self._fine) > _MOST_KNOWN:
                self._fine.popitem(last=False)

    def close(self) -> None:
        """End the process, if it runs."""
        self._process.close()

    def _try(self, structure: Structure) -> None:
        kind = {"json": "JSON schema", "regex": "regular expression"}.get(structure.kind, "grammar")
        line = json.dumps(structure.to_option()).encode() + b"\n"
        try:
            answer = json.loads(self._process.ask(line))
        except TimeoutError:
            raise StructureRefused(
                f"the {kind} takes longer than {self._limit_s:g} s to prepare: make it smaller"
            ) from None
        except LineProcessEnded:
            raise StructureRefused(
                f"the {kind} is nested too deeply, or needs too much memory: make it smaller"
            ) from None
        except ChildProcessError as error:
            raise Unimplemented(
                "structured answers cannot be made here: pip install 'penstock[language]'"
            ) from error
        if "error" in answer:
            raise StructureRefused(f"the {kind} cannot be used: {answer['error']}")
