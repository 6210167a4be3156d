"""Telling: which gateway shows the cluster's metrics, so that a sum over all counts them once.

The turn is kept for as long as metrics are asked for, and passes on when its gateway stops, dies,
or is not asked any more (ADR 0040).
"""

from typing import Final

from penstock.scheduler.store import scripts
from penstock.scheduler.store.keys import RegistryKeys
from penstock.scheduler.store.link import Link

_TELL: Final = scripts.load("registry_tell")

KEEP_MS: Final = 90_000
"""Longer than what reads metrics leaves between two readings."""

_SILENCE_MS: Final = 10_000


class Telling:
    """One gateway's part in it."""

    def __init__(self, link: Link, gateway: str) -> None:
        """*link* is the registry's, *gateway* the id under which it announces itself."""
        self._link = link
        self._gateway = gateway

    async def is_ours(self) -> bool:
        """Whether it is this gateway's turn, for the next `KEEP_MS` too; takes a free one."""
        return await self._ask(KEEP_MS)

    async def give_up(self) -> None:
        """Let another gateway have the turn at once."""
        await self._ask(0)

    async def _ask(self, keep_ms: int) -> bool:
        words = self._gateway, keep_ms, _SILENCE_MS
        return bool(await self._link.call(_TELL, RegistryKeys.prefix, words))
