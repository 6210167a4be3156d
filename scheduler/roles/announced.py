"""What the registry has been sent: it stands for a while, over the connection that it came by."""

import contextlib
from collections.abc import Iterator
from typing import Final, Generic, TypeVar

from penstock.clock import Clock, monotonic
from penstock.scheduler.registry.registry import Registry

ANNOUNCE_AGAIN_S: Final = 10.0
"""A registry that has lost its data is whole again so soon."""

T = TypeVar("T")


class LastAnnounced(Generic[T]):
    """The last of something that *registry* was sent."""

    def __init__(self, registry: Registry, clock: Clock = monotonic) -> None:
        self._registry = registry
        self._clock = clock
        self._last: tuple[T, int] | None = None
        self._until_s = 0.0

    def is_current(self, what: T) -> bool:
        """Whether it was sent *what* lately, and cannot have forgotten it since."""
        said = what, self._registry.connections_made
        return said == self._last and self._clock() < self._until_s

    @contextlib.contextmanager
    def announcing(self, what: T) -> Iterator[None]:
        """It is sent *what* meanwhile, which stands then unless that fails."""
        connection = self._registry.connections_made
        yield
        self._last, self._until_s = (what, connection), self._clock() + ANNOUNCE_AGAIN_S
