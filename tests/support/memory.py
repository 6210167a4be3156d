"""What a process's memory comes to while something is done to it."""

import contextlib
import threading
import time

import psutil

MIB = 1 << 20
_EVERY_S = 0.01


class Watched:
    """The memory of one process.

    Attributes:
        before: bytes when the watch began.
        most: bytes at the worst moment since.
    """

    def __init__(self, pid):
        self._process = psutil.Process(pid)
        self.before = self.most = self.now()
        self.ended = threading.Event()

    def now(self):
        return self._process.memory_info().rss

    @property
    def growth_mib(self):
        return (self.most - self.before) / MIB

    def keep_looking(self):
        while not self.ended.is_set():
            self.most = max(self.most, self.now())
            time.sleep(_EVERY_S)


@contextlib.contextmanager
def memory_of(pid):
    """Look at the process's memory all the time."""
    watched = Watched(pid)
    looking = threading.Thread(target=watched.keep_looking, daemon=True)
    looking.start()
    try:
        yield watched
    finally:
        watched.ended.set()
        looking.join()
