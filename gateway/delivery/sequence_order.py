"""Turns: the requests of one sequence enter the queue one behind the other.

Each is sent when the one before it is known to have been accepted. So a client that does not wait
for answers has its requests in their order, also when Redis goes away in the middle and they are
sent again.
"""

from collections import deque
from collections.abc import Callable, Hashable


class Turns:
    """The requests of one gateway that have not been accepted yet, by sequence."""

    def __init__(self) -> None:
        self._lines: dict[Hashable, deque[tuple[object, Callable[[], None]]]] = {}

    def __len__(self) -> int:
        """Sequences of which a request is on its way."""
        return len(self._lines)

    def enter(self, sequence: Hashable, who: object, send: Callable[[], None]) -> None:
        """Call *send* when all that entered before have left; who is first may be sent again."""
        line = self._lines.setdefault(sequence, deque())
        if all(one is not who for one, _ in line):
            line.append((who, send))
        if line[0][0] is who:
            send()

    def leave(self, sequence: Hashable, who: object) -> None:
        """It was accepted, refused or given up; the next one is sent."""
        line = self._lines.get(sequence)
        if line is None:
            return
        was_first = line[0][0] is who
        for entry in line:
            if entry[0] is who:
                line.remove(entry)
                break
        if not line:
            del self._lines[sequence]
        elif was_first:
            line[0][1]()
