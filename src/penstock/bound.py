"""A process that ends together with the one that started it.

``python -m penstock.bound PARENT_PID COMMAND ...`` becomes a program that does, though it knows
nothing of Penstock. It runs before every embedded store, so it imports next to nothing.
"""

import ctypes
import os
import signal
import sys
import threading
import time

_PR_SET_PDEATHSIG = 1
_POLL_S = 0.5


def die_with_parent(parent_pid: int | None) -> None:
    """Send this process SIGTERM when its parent ends; None to live by itself.

    Raises:
        SystemExit: *parent_pid* is not the parent any more: it has ended already.
    """
    if parent_pid is None:
        return
    if not set_process_option(_PR_SET_PDEATHSIG, signal.SIGTERM):
        threading.Thread(target=_watch_parent, args=(parent_pid,), daemon=True).start()
    # The kernel reports only deaths to come; the parent may have ended before the call above.
    if os.getppid() != parent_pid:
        raise SystemExit(f"penstock: the process that started this one ({parent_pid}) is gone")


def set_process_option(option: int, value: int) -> bool:
    """Linux's prctl; False where there is none, or it refuses."""
    if sys.platform != "linux":
        return False
    failed: int = ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)
    return failed == 0


def _watch_parent(parent_pid: int) -> None:
    while os.getppid() == parent_pid:
        time.sleep(_POLL_S)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    die_with_parent(int(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606 the caller's own command line
