"""Cluster settings: what clients change while the cluster runs, and every gateway goes by.

They are facts in the registry like any other (`Snapshot.settings`); who reads them decides what a
name means. Each value carries a stamp of the call that set it, so that setting a value anew is a
change even where the value is the same.
"""

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from penstock.errors import InvalidConfiguration
from penstock.scheduler.registry.changes import CHANGES_KEPT
from penstock.scheduler.store import scripts
from penstock.scheduler.store.keys import RegistryKeys
from penstock.scheduler.store.link import Links

_SET = scripts.load("registry_set")

Value = bool | int | str


class Setting(NamedTuple):
    """One setting as it is kept: which call set it, and to what."""

    stamp: str
    values: tuple[Value, ...]


class ClusterSettings:
    """The settings behind *links*."""

    def __init__(self, links: Links) -> None:
        self._link = links.to(RegistryKeys.tag)

    async def change(self, changes: Mapping[str, Sequence[Value]]) -> tuple[int, int]:
        """Set what *changes* names, all at once; nothing in place of values forgets a setting.

        Returns the `moment` from which on a snapshot has them.

        Raises:
            StoreUnavailable: Redis cannot be reached; they may or may not have changed.
        """
        stamp = uuid.uuid4().hex[:8]
        words: list[str] = []
        for name, values in changes.items():
            words += (name, json.dumps([stamp, *values]) if values else "")
        keys = RegistryKeys.settings, RegistryKeys.changes
        answer = await self._link.call(_SET, keys, (CHANGES_KEPT, ", ".join(changes), *words))
        return moment(answer.decode())


def moment(change_id: str) -> tuple[int, int]:
    """The id of a change, as it is ordered."""
    milliseconds, _, sequence = change_id.partition("-")
    return int(milliseconds), int(sequence)


def setting(kept: str) -> Setting:
    """The setting that *kept* is the text of.

    Raises:
        InvalidConfiguration: it is the text of none.
    """
    try:
        stamp, *values = json.loads(kept)
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidConfiguration(f"this is no setting of a cluster: {error}") from error
    return Setting(str(stamp), tuple(values))
