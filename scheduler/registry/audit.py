"""The audit log: who did what as an administrator; entries are added, and never changed.

Each has the hash of the one before in its own, so that none can be changed, left out or put in
between without all that follow. Whoever can write to the store could write all of it anew: each
entry's hash is in the log of the process that made it, too.
"""

import hashlib
import json
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from penstock.errors import PenstockError
from penstock.scheduler.store import scripts
from penstock.scheduler.store.conversation import Argument, by_name
from penstock.scheduler.store.keys import RegistryKeys
from penstock.scheduler.store.link import Links

ENTRIES_KEPT: Final = 100_000
_TRIES: Final = 20
_LONGEST: Final = 256
"""Characters of a name: whoever calls may have made it up."""

_APPEND = scripts.load("registry_audit")


class AuditBusy(PenstockError):
    """Others write so much that this entry found no place."""


class Entry(NamedTuple):
    """One act.

    Attributes:
        at_ms: when, in milliseconds since 1970, on the clock of whoever wrote it.
        who: "<team>/<key id>" of a caller; "store" for whoever worked on the store itself.
        act: as in "RepositoryModelLoad" or "key.revoked".
        object: what it was done to.
        result: "OK", or the code that it failed with.
        before: hash of the entry before; empty for the first.
        hash: of all this.
    """

    at_ms: int
    who: str
    act: str
    object: str
    result: str
    before: str
    hash: str

    def hashed(self) -> str:
        """What its hash must be."""
        facts = [self.before, self.at_ms, self.who, self.act, self.object, self.result]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


class AuditLog:
    """The log behind *links*."""

    def __init__(self, links: Links) -> None:
        self._link = links.to(RegistryKeys.tag)

    async def append(self, who: str, act: str, what: str, result: str = "OK") -> Entry:
        """Add an entry behind all others.

        Raises:
            AuditBusy: others were always faster.
            StoreUnavailable: Redis cannot be reached.
        """
        what = what[:_LONGEST]
        for _ in range(_TRIES):
            latest = await self.latest(1)
            before = latest[0].hash if latest else ""
            entry = Entry(int(time.time() * 1000), who, act, what, result, before, "")
            entry = entry._replace(hash=entry.hashed())
            fields = entry._asdict()
            words: list[Argument] = [before, entry.hash, ENTRIES_KEPT]
            for name in ("at_ms", "who", "act", "object", "result"):
                words += (name, fields[name])
            if int(await self._link.call(_APPEND, RegistryKeys.prefix, words)):
                return entry
        raise AuditBusy("the audit log is being written by many at once; try again later")

    async def latest(self, most: int) -> list[Entry]:
        """The last entries, the latest first."""
        found = await self._link.command("XREVRANGE", RegistryKeys.audit, "+", "-", "COUNT", most)
        return [_entry(fields) for _, fields in found]


def broken(entries: Sequence[Entry]) -> Entry | None:
    """The first of *entries*, oldest first, that is not as it was written; None where all are."""
    before: str | None = None
    for entry in entries:
        if entry.hash != entry.hashed() or before not in (None, entry.before):
            return entry
        before = entry.hash
    return None


def _entry(flat: Sequence[bytes]) -> Entry:
    fields = by_name(flat, bytes.decode)
    names = Entry._fields[1:]
    return Entry(int(fields.get("at_ms", 0)), *(fields.get(name, "") for name in names))
