"""Chat templates: messages to one text, rendered in a process that can be stopped."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from penstock.errors import ArtifactUnusable, InvalidRequest
from penstock.language.line_process import LineProcess, LineProcessEnded
from penstock.language.manifest import CHAT_TEMPLATE
from penstock.language.template_process import MOST_TEXT

MOST_BYTES: Final = 1 << 20
"""Of a chat template; the longest in use have 30 KB."""

LIMIT_S: Final = 2.0
"""For one text; templates in use take a millisecond."""

_NOTHING: Final = b'{"template": "", "variables": {}}\n'
_MOST_LINE: Final = 6 * MOST_TEXT + 1024
"""Bytes of an answer: JSON writes each character as six at most."""


class ChatTemplate:
    """One model's chat template. Belongs to one thread at a time; `close` ends its process.

    Attributes:
        knows_tools: it tells the model by itself of functions that it may call.
    """

    def __init__(self, source: str, *, limit_s: float = LIMIT_S) -> None:
        self._source = source
        self.knows_tools = "tools" in source
        self._limit_s = limit_s
        self._process = LineProcess(
            "penstock.language.template_process", limit_s, _MOST_LINE, lambda: _NOTHING
        )

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
        self._process.close()

    def _ask(self, line: bytes) -> bytes:
        try:
            return self._process.ask(line)
        except TimeoutError:
            raise InvalidRequest(
                f"the chat template takes longer than {self._limit_s:g} s for these messages"
            ) from None
        except LineProcessEnded:
            raise InvalidRequest(
                "the chat template needs too much memory for these messages"
            ) from None
        except ChildProcessError as error:
            raise ArtifactUnusable(
                "chat templates cannot be rendered here: pip install 'penstock[language]'"
            ) from error
