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
    kind = Message()
    kind["content-type"] = content_type
    boundary = kind.get_boundary()
    if kind.get_content_type() != "multipart/form-data":
        raise Refused(415, "send a form: Content-Type must be multipart/form-data")
    if boundary is None or not 1 <= len(boundary) <= _LONGEST_BOUNDARY or not boundary.isascii():
        raise InvalidRequest("Content-Type has no boundary that can be one: multipart/form-data")
    found: list[Part] = []
    for header, content in _pieces(body, b"--" + boundary.encode()):
        if len(found) == MOST_PARTS:
            raise InvalidRequest(f"the form has more than {MOST_PARTS} parts")
        found.append(_part(header, content))
    return found


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
    # Names of files are UTF-8, whatever RFC 822 says.
    headers: Message = HeaderParser().parsestr(header.decode(errors="replace"))
    name = headers.get_param("name", header="content-disposition")
    if headers.get_content_disposition() != "form-data" or name is None:
        raise _damaged("a part has no name")
    return Part(
        collapse_rfc2231_value(name)[:_LONGEST_NAME],
        headers.get_filename(),
        content,
    )


def _damaged(what: str) -> InvalidRequest:
    return InvalidRequest(f"the form is cut off or damaged: {what}")
