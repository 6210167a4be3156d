"""A field of a body that cannot be as its client wrote it. Pure."""

from penstock.errors import InvalidRequest


class FieldRefused(InvalidRequest):
    """A field of a body cannot be so.

    Attributes:
        field: its name, as the client wrote it.
    """

    def __init__(self, field: str, text: str) -> None:
        super().__init__(text)
        self.field = field
