"""One run of a fault: its history, as it is written and as it is judged."""

import contextlib
import shutil
from pathlib import Path

from chaos.engine.checker import check
from chaos.engine.history import FAIL, INVOKE, OK, UNKNOWN, Recorder, read
from support.clients.load import expected


class Run:
    """The history of one test, with one fault and one seed.

    Attributes:
        folder: where each process writes its part.
        violations: what the checker found; None until the run was closed.
        expected: the right answer to a place.
        error: why the test itself did not come to its end.
    """

    def __init__(self, folder, name, seed):
        self.name = name
        self.seed = seed
        self.folder = Path(folder) / name.replace("/", "-")
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.recorder = Recorder(self.folder, "test")
        self.violations = None
        self.error = None
        self.expected = lambda place: expected()[place].tolist()
        self.events = []

    def may(self, *allowed, lossy=False):
        """Calls may fail so: ``"UNAVAILABLE"``, ``"UNAVAILABLE: the queue"``.

        *lossy*: the store may forget what it has said, so that a job may be done twice.
        """
        self.recorder.write("run", self.name, OK, allowed=list(allowed), lossy=lossy)

    @contextlib.contextmanager
    def fault(self, name):
        """What happens inside is marked in the history, and in the picture."""
        self.recorder.write("fault", name, INVOKE)
        try:
            yield
        finally:
            self.recorder.write("fault", name, OK)

    def gauge(self, name, value, most):
        """A measured *value* that must not be above *most*."""
        self.recorder.write("gauge", name, OK, value=value, most=most)

    def ids(self, operation, kind):
        """Of which this has been written down so far."""
        return {e.id for e in read(self.folder) if (e.operation, e.kind) == (operation, kind)}

    def close(self):
        """End the history and judge it."""
        self.recorder.close()
        self.events = read(self.folder)
        self.violations = check(self.events, self.expected)

    def verdict(self):
        """What is wrong, and how to see it again."""
        lines = [str(violation) for violation in self.violations[:20]]
        test = self.name.partition("[")[0]
        return "\n".join(
            [
                f"{len(self.violations)} violations in {self.folder}:",
                *lines,
                f"again with: make chaos ONLY={test} CHAOS_SEED={self.seed}",
            ]
        )

    def count(self, operation, *kinds):
        """How many events of this operation there are; of any kind if none is named."""
        wanted = kinds or (INVOKE, OK, FAIL, UNKNOWN)
        return sum(e.operation == operation and e.kind in wanted for e in self.events)
