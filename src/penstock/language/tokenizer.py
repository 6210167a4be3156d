"""The tokenizer: text to tokens and back, as ``tokenizer.json`` says; Hugging Face's runs it."""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Self

from penstock.errors import ArtifactUnusable, InvalidRequest
from penstock.language.manifest import TOKENIZER

MOST_BYTES: Final = 64 << 20
"""Of a tokenizer.json; those of the largest vocabularies have 30 MiB."""

MOST_TEXT: Final = 4 << 20
"""Characters of a text that is to become tokens."""

UNFINISHED: Final = "\ufffd"
"""Where bytes are no characters, or not yet."""

_MOST_PLAIN: Final = 1 << 14
"""Tokens whose text is kept; a text has few others."""


class Tokenizer:
    """Text to tokens, and back. Safe to use from several threads."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self.vocabulary: int = library.get_vocab_size()
        # Joining the bytes of tokens is all that this one does, so nothing depends on others.
        self._is_by_bytes = self.decoder().get("type") == "ByteLevel"
        self._plain = lru_cache(_MOST_PLAIN)(self._text_alone)

    @classmethod
    def from_json(cls, content: bytes) -> Self:
        """The tokenizer that a tokenizer.json describes.

        Raises:
            ArtifactUnusable: it is none.
        """
        import tokenizers

        if len(content) > MOST_BYTES:
            raise ArtifactUnusable(f"{TOKENIZER} has more than {MOST_BYTES >> 20} MiB: it is none")
        try:
            library = tokenizers.Tokenizer.from_str(content.decode())
        except Exception as error:  # the library raises plain ones
            raise ArtifactUnusable(f"{TOKENIZER} cannot be read: {error}") from error
        library.no_truncation()
        library.no_padding()
        return cls(library)

    @classmethod
    def read(cls, directory: Path) -> Self:
        """The tokenizer of the version in *directory*; errors as for `from_json`."""
        return cls.from_json(read_text(directory))

    def to_json(self) -> str:
        """Its tokenizer.json."""
        text: str = self._library.to_str()
        return text

    def encode(self, text: str, *, special: bool) -> list[int]:
        """The tokens of *text*.

        Args:
            special: with those that the tokenizer puts around a text; chat templates write theirs.

        Raises:
            InvalidRequest: the text is too long to be looked at.
        """
        if len(text) > MOST_TEXT:
            raise InvalidRequest(
                f"the text has {len(text)} characters: at most {MOST_TEXT} can be tokenized"
            )
        encoding = self._library.encode(text, add_special_tokens=special)
        tokens: list[int] = encoding.ids
        return tokens

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of *tokens*, without special ones."""
        text: str = self._library.decode(list(tokens), skip_special_tokens=True)
        return text

    def plain(self, token: int) -> str | None:
        """The text of *token*, where it is whole characters whatever stands before and behind it.

        None where that is not known: then only `decode` tells, of it and its neighbours.
        """
        return self._plain(token) if self._is_by_bytes else None

    def _text_alone(self, token: int) -> str | None:
        text = self.decode([token])
        return None if UNFINISHED in text else text

    def written(self, token: int) -> str:
        """A token as its vocabulary writes it; empty where there is none."""
        return self._library.id_to_token(token) or ""

    def added(self) -> Mapping[int, Any]:
        """Tokens beside the vocabulary: the library's descriptions, which say what is special."""
        found: Mapping[int, Any] = self._library.get_added_tokens_decoder()
        return found

    def decoder(self) -> Mapping[str, Any]:
        """How texts are made of tokens, as tokenizer.json has it; empty where it says nothing."""
        decoder = self._library.decoder
        found: Mapping[str, Any] = {} if decoder is None else json.loads(decoder.__getstate__())
        return found

    def token_of(self, name: str) -> int | None:
        """The token that is written *name* in the vocabulary."""
        token: int | None = self._library.token_to_id(name)
        return token


def read_text(directory: Path) -> bytes:
    """The tokenizer.json of the version in *directory*, and nothing behind its most bytes.

    Raises:
        ArtifactUnusable: it cannot be read.
    """
    path = directory / TOKENIZER
    try:
        with path.open("rb") as file:
            return file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ArtifactUnusable(f"{path} cannot be read: {error.strerror}") from error
