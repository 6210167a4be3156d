"""Priority: a process that only starts stands back behind those that serve."""

import contextlib
import os
from pathlib import Path


def stand_back() -> None:
    """Let others go first whenever they wake up; call it before there are other threads."""
    with contextlib.suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def step_up() -> None:
    """Be as others are again, with all threads; where there is no such thing, nothing happens."""
    with contextlib.suppress(OSError, AttributeError):
        for task in Path("/proc/self/task").iterdir():
            # A thread may end while it is looked at.
            with contextlib.suppress(ProcessLookupError):
                os.sched_setscheduler(int(task.name), os.SCHED_OTHER, os.sched_param(0))
