"""Files of text in a checkpoint's folder, read within bounds."""

from pathlib import Path
from typing import Final

from penstock.exporting.checkpoints.folder_config import JsonFile
from penstock.exporting.errors import CannotExport, Damaged

_MOST_TOKENIZER: Final = 64 << 20
_MOST_LISTED: Final = 1 << 16


def tokenizer_in(folder: Path) -> bytes | None:
    """The content of *folder*'s tokenizer.json, if there is one; errors as for `text_of`."""
    return text_of(folder / "tokenizer.json", _MOST_TOKENIZER)


def text_of(path: Path, most: int) -> bytes | None:
    """What the file has, at *most* so many bytes; None where there is none.

    Raises:
        CannotExport: it has more, or is no UTF-8.
    """
    if not path.is_file():
        return None
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise CannotExport(f"{path.name} has more than {most >> 20} MiB: it is none")
    try:
        content.decode()
    except UnicodeDecodeError:
        raise CannotExport(f"{path.name} is no UTF-8: copy or download it again") from None
    return content


def token_list(first: JsonFile, other: JsonFile, name: str) -> tuple[int, ...]:
    """The tokens that *first* lists as *name*, or else *other*; one is a list, too.

    Raises:
        Damaged: they are none.
    """
    said = first.fields.get(name, other.fields.get(name))
    tokens = [] if said is None else said if isinstance(said, list) else [said]
    if len(tokens) > _MOST_LISTED or not all(type(token) is int for token in tokens):
        raise Damaged(first.name, f"{name} is no list of tokens")
    return tuple(token for token in tokens if token >= 0)
