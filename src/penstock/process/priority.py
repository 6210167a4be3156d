"""Priority: who stands back behind others, as a process that starts, or a thread that carries."""

import contextlib
import os
from pathlib import Path


def stand_back() -> None:
    """Let others go first whenever they wake up; call it before there are other threads."""
    with contextlib.suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def have_stand_back(name: str) -> None:
    """Have the threads of this process that are called *name* let others go first as they wake up.

    Where there is no such thing, nothing happens.
    """
    with contextlib.suppress(OSError, AttributeError):
        for task in Path("/proc/self/task").iterdir():
            # A thread may end while it is looked at.
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if (task / "comm").read_text().rstrip("\n") == name:
                    os.sched_setscheduler(int(task.name), os.SCHED_BATCH, os.sched_param(0))


def step_up() -> None:
    """Be as others are again, with all threads; where there is no such thing, nothing happens."""
    with contextlib.suppress(OSError, AttributeError):
        for task in Path("/proc/self/task").iterdir():
            # A thread may end while it is looked at.
            with contextlib.suppress(ProcessLookupError):
                os.sched_setscheduler(int(task.name), os.SCHED_OTHER, os.sched_param(0))
