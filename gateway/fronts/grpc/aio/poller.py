"""The thread in which grpc.aio waits for events of gRPC's core: it stands back.

For each event it wakes up, and tells the event loop; whichever core it wakes up on, what runs there
goes on first. A lone caller waits less, since the event loop is what its answer waits for.
"""

import contextlib
import threading
from collections.abc import Iterator

from penstock.process.priority import stand_back


@contextlib.contextmanager
def standing_back() -> Iterator[None]:
    """The thread that begins within it, which happens with the first server of a process."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        if thread.native_id is not None:
            stand_back(thread.native_id)
