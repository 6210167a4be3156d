"""Chat templates: messages to one text, rendered in a process that can be stopped."""

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from penstock.errors import ArtifactUnusable, InvalidRequest
from penstock.language.manifest import CHAT_TEMPLATE
from penstock.language.template_process import MOST_TEXT

MOST_BYTES: Final = 1 << 20
"""Of a chat template; the longest in use have 30 KB."""

LIMIT_S: Final = 2.0
"""For one text; templates in use take a millisecond."""

_START_S: Final = 30.0
_MOST_LINE: Final = 6 * MOST_TEXT + 1024
"""Bytes of an answer: JSON writes each character as six at most."""


class ChatTemplate:
    """One model's chat template. Belongs to one thread at a time; `close` ends its process."""

    def __init__(self, source: str, *, limit_s: float = LIMIT_S) -> None:
        self._source = source
        self._limit_s = limit_s
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def read(cls, directory: Path) -> "ChatTemplate | None":
        """That of the version in *directory*; None where it has none.

        Raises:
            ArtifactUnusable: the file is not one.
        """
        path = directory / CHAT_TEMPLATE
        if not path.is_file():
            return None
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise ArtifactUnusable(
                f"{path} has more than {MOST_BYTES >> 20} MiB: it is no template"
            )
        return cls(content.decode(errors="replace"))

    def render(self, messages: Sequence[Mapping[str, Any]], **variables: Any) -> str:
        """The text that asks the model to go on after *messages*.

        Args:
            variables: what else the template knows, such as bos_token or tools.

        Raises:
            InvalidRequest: the template refuses the messages, or takes too long or too much.
        """
        variables = {"add_generation_prompt": True, **variables, "messages": list(messages)}
        line = json.dumps({"template": self._source, "variables": variables}).encode() + b"\n"
        if len(line) > _MOST_LINE:
            raise InvalidRequest(f"the messages have more than {MOST_TEXT} characters")
        answer = json.loads(self._ask(line))
        if "error" in answer:
            raise InvalidRequest(f"the chat template refuses these messages: {answer['error']}")
        return str(answer["text"])

    def close(self) -> None:
        """End the process, if it runs."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):
                    pipe and pipe.close()

    def _ask(self, line: bytes) -> bytes:
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._process = _start()
        try:
            answer = _exchange(self._process, line, time.monotonic() + self._limit_s)
        except TimeoutError:
            self.close()
            raise InvalidRequest(
                f"the chat template takes longer than {self._limit_s:g} s for these messages"
            ) from None
        except OSError:
            answer = b""
        if not answer.endswith(b"\n"):
            self.close()
            raise InvalidRequest("the chat template needs too much memory for these messages")
        return answer


def _start() -> "subprocess.Popen[bytes]":
    """The process, once it answers: its start is not counted as a template's time."""
    process = subprocess.Popen(
        [sys.executable, "-m", "penstock.language.template_process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    for pipe in (process.stdin, process.stdout):
        os.set_blocking(pipe.fileno(), False)  # type: ignore[union-attr]
    try:
        ready = _exchange(
            process, b'{"template": "", "variables": {}}\n', time.monotonic() + _START_S
        )
    except (OSError, TimeoutError):
        ready = b""
    if not ready:
        process.kill()
        process.wait()
        raise ArtifactUnusable(
            "chat templates cannot be rendered here: pip install 'penstock[language]'"
        )
    return process


def _exchange(process: "subprocess.Popen[bytes]", line: bytes, ends_s: float) -> bytes:
    """One line out, one line in; less than a line where the process ended.

    Raises:
        TimeoutError: it took longer.
    """
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
            if not piece or len(answer) > _MOST_LINE:
                return b""
    return bytes(answer)
