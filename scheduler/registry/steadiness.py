"""Steadiness: a registry that lost its data is not believed at once.

When Redis comes back empty, every process tells the registry again within a second or two. Until
then it would seem that no model is served and no worker wanted, so readers that act on what is
there keep their last picture for a while.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final

from penstock.clock import Clock, monotonic
from penstock.scheduler.registry.snapshot import Snapshot

HOLD_S: Final = 5.0
"""How long to wait for a registry to be told again: announcing, publishing and placing once."""


async def steady(
    snapshots: AsyncIterator[Snapshot], clock: Clock = monotonic
) -> AsyncGenerator[Snapshot, None]:
    """*snapshots* without those between the loss of the registry's data and its return."""
    last: Snapshot | None = None
    held_since_s: float | None = None
    async for snapshot in snapshots:
        # The revision of the placements only grows, except when it is forgotten.
        if last is not None and snapshot.revision < last.revision and held_since_s is None:
            held_since_s = clock()
        if last is not None and held_since_s is not None:
            if clock() - held_since_s < HOLD_S and not is_back(snapshot, last):
                continue
            held_since_s = None
        last = snapshot
        yield snapshot


def is_back(snapshot: Snapshot, before: Snapshot) -> bool:
    """Whether everything that *before* knew is there again."""
    return (
        before.live <= snapshot.live
        and before.versions.keys() <= snapshot.versions.keys()
        and len(before.placements) <= len(snapshot.placements)
    )
