"""Exit statuses of workers, and what they mean to people."""

import signal
from typing import Final

DRAINED: Final = 0
CANNOT_LOAD: Final = 3
HUNG: Final = 70
BROKEN: Final = 71

_REASONS: Final = {
    DRAINED: "it was told to stop by somebody else than its node",
    CANNOT_LOAD: "its shard cannot be loaded; its log says why",
    HUNG: "it made no progress for longer than --run-limit-s",
    BROKEN: "its device no longer ran the shard",
}


SILENT: Final = "it was silent for longer than --worker-silence-s, and was killed"
"""Of a worker whose node has heard nothing of it."""


def reason_of(status: int) -> str:
    """Why a worker ended, from its exit status; negative for a signal."""
    if status >= 0:
        return _REASONS.get(status, f"it ended with status {status}; its log says why")
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    hint = " (by hand, or because memory ran out)" if name == "SIGKILL" else ""
    return f"it was ended by {name}{hint}"
