"""Masks: which tokens may come next in each answer, found on threads of their own.

What an answer may go on with follows from its structure and its log; what is kept here besides is
a cache of that. The token behind the log is looked for while the next step is computed. A step
waits for all masks together no longer than `PATIENCE_S`: an answer whose mask takes longer gets
its token in a later step, and those beside it go on.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

import structlog

from penstock.errors import PenstockError
from penstock.language.grammar.grammars import Allowed, Grammars, Stuck, Tokens
from penstock.language.grammar.structure import Structure

log = structlog.get_logger()

PATIENCE_S: Final = 0.05

_STACK_BYTES: Final = 64 << 20
"""Eight times what a structure may need that has been tried (check_process.py)."""


class Mask:
    """What the structure of one answer allows next."""

    def __init__(self, threads: "MaskThreads", structure: Structure, tokens: Sequence[int]) -> None:
        """*tokens*: the answer's log."""
        self._threads = threads
        self._structure = structure
        self._begin(tokens)

    def _begin(self, tokens: Sequence[int]) -> None:
        """From nothing but the structure and the log."""
        structure, held = self._structure, list(tokens)
        self._count = len(held)
        self._allowed = self._threads.begin(lambda grammars: grammars.begin(structure))
        self._next = self._threads.go_on(self._allowed, held)

    def after(self, tokens: Sequence[int], patience_s: float) -> Tokens | None:
        """int64[count], ascending: the tokens that may follow *tokens*, the log; None: not yet.

        Raises:
            Stuck: there are none.
        """
        if len(tokens) != self._count:
            self._begin(tokens)
        try:
            return self._next.result(max(0.0, patience_s))
        except TimeoutError:
            return None

    def took(self, token: int) -> None:
        """*token* is the log's last now: look for what may follow."""
        self._count += 1
        self._next = self._threads.go_on(self._allowed, [token])


class MaskThreads:
    """Two threads: one prepares structures, the other finds tokens; both let others compute."""

    def __init__(self, grammars: Callable[[], Grammars]) -> None:
        """*grammars* makes those of the model; it is called once one is needed."""
        self._made: Grammars | None = None
        self._make = grammars
        self._preparing = ThreadPoolExecutor(1, "structures")
        self._finding = ThreadPoolExecutor(1, "masks")
        self._starts = False

    def begin(self, prepare: Callable[[Grammars], Allowed]) -> "Future[Allowed]":
        """What *prepare* makes, when its turn has come."""
        self._start()

        def run() -> Allowed:
            if self._made is None:
                self._made = self._make()
            return prepare(self._made)

        return self._preparing.submit(run)

    def go_on(self, allowed: "Future[Allowed]", tokens: Sequence[int]) -> "Future[Tokens]":
        """What may come once *tokens* have; it fails with `Stuck`."""
        found: Future[Tokens] = Future()

        def find(_: object) -> None:
            self._finding.submit(_find, allowed, tokens, found)

        allowed.add_done_callback(find)
        return found

    def _start(self) -> None:
        """Start the threads, with stacks that no structure fills that gateways let pass."""
        if self._starts:
            return
        self._starts = True
        before = threading.stack_size(_STACK_BYTES)
        try:
            for pool in (self._preparing, self._finding):
                pool.submit(int).result()
        finally:
            threading.stack_size(before)


def _find(allowed: "Future[Allowed]", tokens: Sequence[int], found: "Future[Tokens]") -> None:
    try:
        one = allowed.result()
        one.take(tokens)
        found.set_result(one.tokens())
    except Stuck as stuck:
        found.set_exception(stuck)
    except (PenstockError, ModuleNotFoundError) as error:
        log.warning("a structure cannot be used", why=str(error))
        found.set_exception(Stuck(str(error)))
    except BaseException as error:  # the library raises what it likes
        log.exception("a structure has failed")
        found.set_exception(Stuck(str(error)))
