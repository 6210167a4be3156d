"""Replies that clients have asked for and not taken yet, in bytes for each connection.

One connection may hold half of what all may; beyond that its replies are refused. When all together
hold too much, the connection that holds most is cut off: whoever does not read is the one whose
replies pile up.
"""

from collections import Counter
from collections.abc import Callable
from typing import Final

import structlog

from penstock.gateway.limits.memory import RepliesUnread

log = structlog.get_logger()

SMALL_BYTES: Final = 16 << 10
"""Replies below this size are not counted: calls are, and each has one."""


class UnreadReplies:
    """The unread replies of one gateway.

    Attributes:
        held: their bytes.
        refused: replies that were not given to their clients.
        cut_off: connections that were ended.
    """

    def __init__(self, most: int, cut_off: Callable[[str], bool]) -> None:
        """*most* bytes; *cut_off* ends a connection, if it is there."""
        self._most = most
        self._cut_off = cut_off
        self._by_peer: Counter[str] = Counter()
        self._going: set[str] = set()
        self.held = self.refused = self.cut_off = 0

    def __repr__(self) -> str:
        return f"UnreadReplies({self.held} of {self._most} bytes, {len(self._by_peer)} connections)"

    def take(self, peer: str, size: int) -> None:
        """Hold *size* bytes for *peer* until they are given back.

        Raises:
            RepliesUnread: this connection holds too many already.
        """
        before = self._by_peer[peer]
        # One reply may always be given: it may be larger than the half.
        if before and before + size > self._most // 2:
            self.refused += 1
            raise RepliesUnread(
                f"this connection has {before >> 20} MiB of replies that were not read, half of "
                f"what all may have (--max-unread-mib {self._most >> 20}): read them first"
            )
        self._by_peer[peer] = before + size
        self.held += size
        if self.held > self._most:
            self._make_room()

    def give(self, peer: str, size: int) -> None:
        """What `take` was asked for is held no more: it is sent, or nobody is there to read it."""
        self.held -= size
        self._by_peer[peer] -= size
        if self._by_peer[peer] <= 0:
            del self._by_peer[peer]
            self._going.discard(peer)

    def _make_room(self) -> None:
        """Cut off whoever holds most, until what is left fits."""
        going = sum(self._by_peer[peer] for peer in self._going)
        for peer, size in self._by_peer.most_common():
            if self.held - going <= self._most:
                return
            if peer in self._going or not self._cut_off(peer):
                continue
            self._going.add(peer)
            self.cut_off += 1
            going += size
            log.warning("a client that reads no replies was cut off", peer=peer, mib=size >> 20)
