"""How far the replies of each partition have been read: what tells a late reply from a lost one.

A reply lies in its stream until it is read, however long its reader takes. Only when the stream was
read to its end, after the job was seen to have ended, is a reply that did not come lost.
"""

from collections.abc import Iterable


class ReadThrough:
    """Until when the replies of each partition have been delivered."""

    def __init__(self) -> None:
        self._through_s: dict[str, float] = {}

    def note(self, tag: str, asked_s: float) -> None:
        """A question that left at *asked_s* has read the stream of partition *tag* to its end."""
        self._through_s[tag] = asked_s

    def covers(self, tags: Iterable[str], until_s: float) -> bool:
        """Whether all that was written to the streams of *tags* until then has been delivered."""
        return all(self._through_s.get(tag, float("-inf")) > until_s for tag in tags)
