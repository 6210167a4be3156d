"""Urgency: at which level a request queues, and how long it may wait to be begun. Pure.

The model decides which levels there are and whether its timeout may be shortened; a request for an
ensemble asks each of its steps' models anew.
"""


def level_of(asked: int, levels: int, default: int) -> int:
    """The level to queue at: the model's default for 0 and for levels that it does not have."""
    return asked if 0 < asked <= levels else default


def queue_timeout_us(asked_us: int, timeout_us: int, *, may_shorten: bool) -> int:
    """Microseconds that a request may wait; 0 for its deadline alone.

    A request may shorten its model's timeout where the model allows it. Where the model sets none,
    the request's counts. (Triton would ignore it; a client that asks to be refused rather than
    wait should be.)
    """
    if asked_us == 0 or (timeout_us and not may_shorten):
        return timeout_us
    return min(asked_us, timeout_us or asked_us)
