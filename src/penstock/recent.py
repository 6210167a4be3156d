"""Caches whose size follows what there is, so that nothing becomes slow at some number."""

import random
from collections.abc import Callable, Hashable
from functools import wraps
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_CHANCE: Final = random.Random(0)  # noqa: S311 - which entry goes is no secret


class Recent(Generic[K, V]):
    """Values that are made once for as long as they are asked for.

    What was not asked for between two calls of `turn` is forgotten, so it holds as much as there
    is, however much that is.
    """

    def __init__(self) -> None:
        self._kept: dict[K, V] = {}
        self._before: dict[K, V] = {}

    def __len__(self) -> int:
        return len(self._kept.keys() | self._before.keys())

    def of(self, key: K, make: Callable[[], V]) -> V:
        """The value of *key*; *make* is called if there is none."""
        if key not in self._kept:
            self._kept[key] = self._before[key] if key in self._before else make()
        return self._kept[key]

    def turn(self) -> None:
        """Everything that there is has been asked for once more."""
        self._before, self._kept = self._kept, {}


class Sloping(dict[K, V]):
    """At most so many values; of too many, any one goes.

    Where the oldest went, one key too many that come in turn would push each other out, and all
    would be made anew each time. So most of them stay: what is one too many costs one value.
    """

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most
        self._order: list[K] = []

    def keep(self, key: K, value: V) -> None:
        """Keep *value* in *key*'s place."""
        if key not in self:
            if len(self._order) < self._most:
                self._order.append(key)
            else:
                place = _CHANCE.randrange(self._most)
                del self[self._order[place]]
                self._order[place] = key
        self[key] = value


def kept(most: int) -> Callable[[Callable[..., V]], Callable[..., V]]:
    """As `functools.lru_cache`, for positional arguments, and without its cliff (`Sloping`)."""

    def decorated(function: Callable[..., V]) -> Callable[..., V]:
        found: Sloping[tuple[Hashable, ...], V] = Sloping(most)

        @wraps(function)
        def cached(*arguments: Hashable) -> V:
            value = found.get(arguments)
            if value is None:
                value = function(*arguments)
                found.keep(arguments, value)
            return value

        return cached

    return decorated
