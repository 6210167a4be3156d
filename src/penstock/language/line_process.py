"""A process that does what strangers ask for, a line at a time, and can be stopped."""

import contextlib
import os
import select
import subprocess
import time
from collections.abc import Callable
from typing import Final

from penstock.errors import PenstockError
from penstock.process.child_process import python_command

_START_S: Final = 30.0


class LineProcessEnded(PenstockError):
    """The process has ended instead of answering: it needed more memory than it may have."""


class LineProcess:
    """One module's process, which starts when it is asked. Belongs to one thread at a time."""

    def __init__(
        self, module: str, limit_s: float, most_line: int, first: Callable[[], bytes]
    ) -> None:
        """Once it has started it says a line to the *first*, which is not counted as its time.

        Args:
            limit_s: for one answer; it is killed when it takes longer.
            most_line: bytes that an answer may have.
        """
        self._module = module
        self._limit_s = limit_s
        self._most_line = most_line
        self._first = first
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, line: bytes) -> bytes:
        """What it says to *line*, which ends with its only line break.

        Raises:
            TimeoutError: it took longer than it may.
            LineProcessEnded: it has ended.
            ChildProcessError: it cannot be started.
        """
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._process = self._start()
        try:
            answer = self._exchange(self._process, line, self._limit_s)
        except TimeoutError:
            self.close()
            raise
        except OSError:
            answer = b""
        if not answer.endswith(b"\n"):
            self.close()
            raise LineProcessEnded(f"{self._module} has ended")
        return answer

    def close(self) -> None:
        """End it, if it runs."""
        process, self._process = self._process, None
        if process is not None:
            _end(process)

    def _start(self) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            python_command(self._module),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        for pipe in (process.stdin, process.stdout):
            os.set_blocking(pipe.fileno(), False)  # type: ignore[union-attr]
        try:
            ready = self._exchange(process, self._first(), _START_S)
        except (OSError, TimeoutError):
            ready = b""
        if not ready:
            _end(process)
            raise ChildProcessError(f"{self._module} cannot be run here")
        return process

    def _exchange(self, process: "subprocess.Popen[bytes]", line: bytes, limit_s: float) -> bytes:
        """One line out, one line in; less than a line where the process ended.

        Raises:
            TimeoutError: it took longer.
        """
        ends_s = time.monotonic() + limit_s
        out, back = process.stdin.fileno(), process.stdout.fileno()  # type: ignore[union-attr]
        unsent, answer, poll = memoryview(line), bytearray(), select.poll()
        poll.register(back, select.POLLIN)
        poll.register(out, select.POLLOUT)
        while not answer.endswith(b"\n"):
            events = dict(poll.poll(max(0, (ends_s - time.monotonic()) * 1000)))
            if not events:
                raise TimeoutError
            if out in events:
                unsent = unsent[os.write(out, unsent[: 1 << 16]) :]
                if not unsent:
                    poll.unregister(out)
            if back in events:
                piece = os.read(back, 1 << 16)
                answer += piece
                if not piece or len(answer) > self._most_line:
                    return b""
        return bytes(answer)


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):
            pipe and pipe.close()
