"""How keys and values that were lost come back: what a model was seen to do, in three steps."""

from collections.abc import Iterable
from enum import StrEnum


class Rebuild(StrEnum):
    """What makes a lost cache come back equal to the bit; the strongest first.

    Attributes:
        PREFILL: its tokens are read again, in chunks of any size, beside any others.
        REPLAY: the prompt is read in the chunks that it was read in, the answer token by token.
        NONE: nothing that is known; it comes back, and an answer may go on otherwise.
    """

    PREFILL = "prefill"
    REPLAY = "replay"
    NONE = "none"


def weakest(modes: Iterable[str]) -> Rebuild:
    """What holds where all of *modes* do; a text that is none of them says nothing."""
    order = list(Rebuild)
    known = [Rebuild(mode) if mode in order else Rebuild.NONE for mode in modes]
    return max(known, key=order.index, default=Rebuild.NONE)
