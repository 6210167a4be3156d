"""Where an answer ends: a function of the request and of the log."""

from collections.abc import Collection, Sequence
from enum import StrEnum

from penstock.language.options import DecodingOptions


class Finish(StrEnum):
    """Why an answer ended, in the words of OpenAI's API.

    CANCELLED: no token says so, but the end of the reply.
    """

    STOP = "stop"
    LENGTH = "length"
    CANCELLED = "cancelled"


def finish_of(
    log: Sequence[int], options: DecodingOptions, end_tokens: Collection[int]
) -> Finish | None:
    """Whether *log* ends the answer, leaving aside how much room there is.

    Args:
        end_tokens: the model's.
    """
    if not log:
        return None
    if log[-1] in options.stop_tokens or (log[-1] in end_tokens and not options.ignore_end):
        return Finish.STOP
    if options.max_tokens is not None and len(log) >= options.max_tokens:
        return Finish.LENGTH
    return None
