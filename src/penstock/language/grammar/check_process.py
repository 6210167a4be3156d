"""The process that tries structures: it may take bounded time and memory, or end, and no harm done.

    python -m penstock.language.grammar.check_process

A schema or a grammar is a program of strangers for a library in another language: a chain of a few
thousand rules overflows its stack, which ends the process. The first line in is the model's, as a
JSON object; each further one is a structure. Each line out is an object, with ``error`` or without.
"""

import json
import resource
import sys
from collections.abc import Collection
from random import Random
from typing import Any, Final

from penstock.errors import PenstockError
from penstock.language.grammar.grammars import Grammars, Stuck
from penstock.language.grammar.structure import Structure

_MEMORY_BYTES: Final = 2 << 30
_TOKENS: Final = 16
"""Of an answer that is made by chance: what is beyond a bound mostly is so in the first few."""


def _try(grammars: Grammars, end_tokens: Collection[int], said: Any) -> dict[str, str]:
    """Begin an answer of this structure; *said*: as an option has it."""
    chance = Random(0)  # noqa: S311 - no secret: the same tokens each time
    try:
        allowed = grammars.begin(Structure.of("structure", said))
        for _ in range(_TOKENS):
            found = allowed.tokens()
            token = int(found[chance.randrange(len(found))])
            if token in end_tokens:
                break
            allowed.take([token])
    except PenstockError as error:
        return {"error": str(error)}
    except Stuck as stuck:
        return {"error": f"no answer can begin so: {stuck}"}
    except MemoryError:
        return {"error": "it needs too much memory"}
    return {}


def _say(answer: dict[str, str]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Answer lines until there are no more."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    model = json.loads(sys.stdin.readline())
    try:
        grammars = Grammars.of(model["tokenizer"], model["vocabulary"], model["end_tokens"])
    except PenstockError as error:
        unfit = {"error": str(error)}
        _say({})
        for _ in sys.stdin:
            _say(unfit)
        return
    _say({})
    for line in sys.stdin:
        _say(_try(grammars, model["end_tokens"], json.loads(line)))


if __name__ == "__main__":
    main()
