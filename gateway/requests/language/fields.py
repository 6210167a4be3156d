"""Fields that ask for something, or cannot be as their client wrote them. Pure."""

from typing import NamedTuple

from penstock.errors import InvalidRequest
from penstock.language.grammar.structure import Structure


class FieldRefused(InvalidRequest):
    """A field of a body cannot be so.

    Attributes:
        field: its name, as the client wrote it.
    """

    def __init__(self, field: str, text: str) -> None:
        super().__init__(text)
        self.field = field


class AskedStructure(NamedTuple):
    """A structure, and the *field* that asks for it."""

    field: str
    structure: Structure
