"""Forms as HTTP sends files: multipart/form-data (RFC 7578), read within bounds. Pure."""

from collections.abc import Iterator
from email.message import Message
from email.parser import HeaderParser
from email.utils import collapse_rfc2231_value
from typing import Final, NamedTuple

from penstock.errors import InvalidRequest
from penstock.gateway.fronts.http.statuses import Refused

MOST_PARTS: Final = 64
_MOST_HEADER_BYTES: Final = 4096
_LONGEST_BOUNDARY: Final = 70
_LONGEST_NAME: Final = 128
_LONGEST_TYPE: Final = 1024
_MOST_PARAMETERS: Final = 32
"""Of a header: `email` takes time by their square."""


class Part(NamedTuple):
    """A field of a form.

    Attributes:
        filename: where it is a file.
    """

    name: str
    filename: str | None
    content: memoryview


def parts_of(body: bytes, content_type: str) -> list[Part]:
    """The fields of the form that *body* is.

    Raises:
        Refused: its type says that it is none.
        InvalidRequest: it is damaged, or has too many parts.
    """
    boundary = _boundary(content_type)
    if boundary is None or not 1 <= len(boundary) <= _LONGEST_BOUNDARY or not boundary.isascii():
        raise InvalidRequest("Content-Type has no boundary that can be one: multipart/form-data")
    found: list[Part] = []
    for header, content in _pieces(body, b"--" + boundary.encode()):
        if len(found) == MOST_PARTS:
            raise InvalidRequest(f"the form has more than {MOST_PARTS} parts")
        found.append(_part(header, content))
    return found


def _boundary(content_type: str) -> str | None:
    kind = Message()
    kind["content-type"] = content_type.partition(";")[0]
    if kind.get_content_type() != "multipart/form-data":
        raise Refused(415, "send a form: Content-Type must be multipart/form-data")
    if len(content_type) > _LONGEST_TYPE or content_type.count(";") > _MOST_PARAMETERS:
        return None
    kind.replace_header("content-type", content_type)
    try:
        return kind.get_boundary()
    except ValueError:
        # It says by itself in which encoding it is, and that is none.
        return None


def _pieces(body: bytes, delimiter: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Headers and content of each part."""
    at = 0 if body.startswith(delimiter) else body.find(b"\r\n" + delimiter) + 2
    if at == 1:
        raise _damaged("its boundary is not in it")
    at += len(delimiter)
    view = memoryview(body)
    while body[at : at + 2] != b"--":
        begin = body.find(b"\r\n", at, at + _LONGEST_BOUNDARY) + 2
        headers_end = body.find(b"\r\n\r\n", at, at + _MOST_HEADER_BYTES)
        end = body.find(b"\r\n" + delimiter, headers_end + 2)
        if begin == 1 or headers_end < 0 or end < 0:
            raise _damaged("a part has no end, or no headers")
        yield body[begin : headers_end + 2], view[headers_end + 4 : max(headers_end + 4, end)]
        at = end + 2 + len(delimiter)


def _part(header: bytes, content: memoryview) -> Part:
    if header.count(b";") > _MOST_PARAMETERS:
        raise _damaged(f"a part's headers have more than {_MOST_PARAMETERS} semicolons")
    # Names of files are UTF-8, whatever RFC 822 says.
    headers: Message = HeaderParser().parsestr(header.decode(errors="replace"))
    try:
        name = headers.get_param("name", header="content-disposition")
        filename = headers.get_filename()
        if headers.get_content_disposition() == "form-data" and name is not None:
            return Part(collapse_rfc2231_value(name)[:_LONGEST_NAME], filename, content)
    except ValueError as error:
        raise _damaged("a part's name is in an encoding that is none: write UTF-8") from error
    raise _damaged("a part has no name")


def _damaged(what: str) -> InvalidRequest:
    return InvalidRequest(f"the form is cut off or damaged: {what}")
