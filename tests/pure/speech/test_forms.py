"""Forms with files: read as clients send them, whatever is in the file; refused where damaged."""

import random

import pytest

from penstock.errors import InvalidRequest, PenstockError
from penstock.gateway.fronts.http.openai.audio.forms import MOST_PARTS, parts_of
from penstock.gateway.fronts.http.statuses import Refused

TYPE = "multipart/form-data; boundary=b0"


def _form(*parts, boundary="b0"):
    pieces = [
        f"--{boundary}\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode() + content
        for head, content in parts
    ]
    return b"\r\n".join([*pieces, f"--{boundary}--\r\n".encode()])


def _found(body, kind=TYPE):
    return [(part.name, part.filename, bytes(part.content)) for part in parts_of(body, kind)]


def test_fields_and_files_are_what_was_sent():
    file = b"RIFF\r\n--b\r\n\r\n--b1\0\xff--b0 --\r\n"
    body = _form(
        ('name="model"', b"x"), ('name="file"; filename="a b.wav"', file), ('name="e"', b"")
    )

    assert _found(body) == [("model", None, b"x"), ("file", "a b.wav", file), ("e", None, b"")]
    assert _found(b"before\r\n" + body) == _found(body)


@pytest.mark.parametrize("written", ["Größe 日.wav", 'a \\"b\\".wav'])
def test_names_of_files_are_as_they_were_written(written):
    ((_, filename, _),) = _found(_form((f'name="file"; filename="{written}"', b"1")))

    assert filename == written.replace("\\", "")


@pytest.mark.parametrize(
    "kind",
    ['multipart/form-data; boundary="a \'b"', 'Multipart/Form-Data; charset=x; boundary="a \'b"'],
)
def test_boundaries_may_be_quoted(kind):
    body = _form(('name="a"', b"1"), boundary="a 'b")

    assert _found(body, kind) == [("a", None, b"1")]


@pytest.mark.parametrize("kind", ["", "application/json", "text/plain; boundary=b0"])
def test_what_is_no_form_is_refused(kind):
    with pytest.raises(Refused, match="multipart/form-data") as refused:
        parts_of(_form(('name="a"', b"1")), kind)

    assert refused.value.status == 415


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        (b"", TYPE, "its boundary is not in it"),
        (_form(('name="a"', b"1")), "multipart/form-data", "no boundary"),
        (_form(('name="a"', b"1")), f"{TYPE}{'x' * 70}", "no boundary"),
        (_form(('name="a"', b"1"))[:-8], TYPE, "a part has no end"),
        (b"--b0\r\n\r\n1\r\n--b0--", TYPE, "a part has no"),
        (_form(("x=1", b"1")), TYPE, "a part has no name"),
        (_form(*[('name="a"', b"1")] * (MOST_PARTS + 1)), TYPE, "more than 64 parts"),
        (_form((f'name="{"a" * 5000}"', b"1")), TYPE, "no headers"),
        (_form(("name*=undefined''a", b"1")), TYPE, "write UTF-8"),
        (_form(("name=a; filename*=idna''%ff", b"1")), TYPE, "write UTF-8"),
        (_form(("name=a; filename*=x\0''x", b"1")), TYPE, "write UTF-8"),
        (_form(('name="a"', b"1")), "multipart/form-data; boundary*=undefined''b0", "no boundary"),
        (_form(("name=a" + ";" * 33, b"1")), TYPE, "more than 32 semicolons"),
        (_form(('name="a"', b"1")), f"{TYPE}{';' * 33}", "no boundary"),
        (_form(('name="a"', b"1")), f"{TYPE}; a={'x' * 1024}", "no boundary"),
    ],
)
def test_a_damaged_form_is_refused(body, kind, said):
    with pytest.raises(InvalidRequest, match=said):
        parts_of(body, kind)


def test_hostile_headers_are_read_or_refused_and_nothing_else():
    chance = random.Random(4)  # noqa: S311
    pieces = ["multipart/form-data", "boundary", "name", "filename", "b0", "*", "=", ";", '"', "'"]
    pieces += ["form-data", "utf-8''%ff", "\xff", "\r\n ", "0*", " ", "\\", ",", "\0", "(", "é"]
    refused = 0
    for _ in range(2000):
        said = "".join(chance.choices(pieces, k=chance.randrange(1, 9)))
        for body, kind in (
            (_form(('name="a"', b"1")), f"multipart/form-data; boundary=b0{said}"),
            (_form(('name="a"', b"1")), said),
            (_form((said, b"1")), TYPE),
        ):
            try:
                parts_of(body, kind)
            except PenstockError:
                refused += 1
    assert 1000 < refused < 6000


def test_hostile_bytes_are_read_or_refused_and_nothing_else():
    body, chance = (
        _form(('name="a"', b"1"), ('name="f"; filename="x"', bytes(99))),
        random.Random(3),  # noqa: S311
    )
    refused = 0
    for _ in range(500):
        changed = bytearray(body)
        for _ in range(3):
            changed[chance.randrange(len(body))] = chance.choice(b'\r\n-b0:;="\x00\xff')
        try:
            parts_of(bytes(changed), TYPE)
        except PenstockError:
            refused += 1
    assert 100 < refused < 500
