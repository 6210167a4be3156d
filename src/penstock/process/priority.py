"""Priority: who stands back behind others, as a process that starts, or a thread that carries."""

import contextlib
import os
from pathlib import Path


def stand_back(thread: int = 0) -> None:
    """Let others go first whenever *thread* wakes up, by its number in the system.

    0 is the caller's: call it before there are other threads.
    """
    with contextlib.suppress(OSError, AttributeError):
        os.sched_setscheduler(thread, os.SCHED_BATCH, os.sched_param(0))


def have_stand_back(name: str) -> None:
    """Have the threads of this process that are called *name* let others go first as they wake up.

    Where there is no such thing, nothing happens.
    """
    _schedule("SCHED_BATCH", name)


def step_up() -> None:
    """Be as others are again, with all threads; where there is no such thing, nothing happens."""
    _schedule("SCHED_OTHER")


def _schedule(policy: str, name: str | None = None) -> None:
    """Give the threads that are called *name*, or all, a policy by its name in `os`."""
    with contextlib.suppress(OSError, AttributeError):
        number = getattr(os, policy)
        for task in Path("/proc/self/task").iterdir():
            # A thread may end while it is looked at.
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if name is None or (task / "comm").read_text().rstrip("\n") == name:
                    os.sched_setscheduler(int(task.name), number, os.sched_param(0))
