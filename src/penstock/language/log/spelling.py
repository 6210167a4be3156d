"""Spelling: how a token is written, and its bytes, which may be no character by themselves."""

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Final

from penstock.language.tokenizer import Tokenizer

_BYTE: Final = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_SPACE: Final = "\u2581"


class Spelling:
    """The tokens of one tokenizer, as bytes."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def bytes_of(self, token: int) -> bytes | None:
        """The bytes of the text of *token*; None for one that is no text, such as an end token."""
        if token in self._special:
            return None
        written = self._tokenizer.written(token)
        if self._is_by_bytes:
            return b"".join(_LETTERS.get(one) or one.encode() for one in written)
        byte = _BYTE.fullmatch(written)
        return bytes.fromhex(byte[1]) if byte else written.replace(_SPACE, " ").encode()

    def text_of(self, token: int) -> str:
        """The text of *token*, or its name; half a character is U+FFFD."""
        content = self.bytes_of(token)
        if content is None:
            return self._tokenizer.written(token)
        return content.decode(errors="replace")

    @cached_property
    def _special(self) -> frozenset[int]:
        added: Mapping[int, Any] = self._tokenizer.added()
        return frozenset(token for token, one in added.items() if one.special)

    @cached_property
    def _is_by_bytes(self) -> bool:
        return "ByteLevel" in _kinds(self._tokenizer.decoder())


def _kinds(decoder: Mapping[str, Any]) -> set[str]:
    """The kinds of decoders, one in another."""
    inner = (_kinds(one) for one in decoder.get("decoders", ()))
    return {str(decoder.get("type"))}.union(*inner)


def _letters() -> dict[str, bytes]:
    """GPT-2's letters for bytes: what can be printed stands for itself, the rest from 256 on."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    letters = {chr(byte): bytes([byte]) for byte in plain}
    return letters | {chr(256 + n): bytes([byte]) for n, byte in enumerate(others)}


_LETTERS: Final = _letters()
