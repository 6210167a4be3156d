"""gRPC's headers and messages, as its specification has them."""

import pytest

from penstock.errors import Code
from penstock.gateway.fronts.grpc.asgi import wire


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(b"1H", 3600), (b"2M", 120), (b"3S", 3), (b"4m", 0.004), (b"5u", 5e-6), (b"99999999n", 0.1)],
)
def test_timeouts(value, seconds):
    found = wire.asked([(b"grpc-timeout", value)]).remaining_s

    assert found == pytest.approx(seconds)


@pytest.mark.parametrize("value", [b"", b"S", b"1", b"1s", b"-1S", b"123456789S", b"1.5S", b"1 S"])
def test_what_is_no_timeout_is_refused(value):
    with pytest.raises(wire.WireError):
        wire.asked([(b"grpc-timeout", value)])


def test_metadata_are_what_is_not_gRPCs_own():  # noqa: N802
    found = wire.asked(
        [
            (b":path", b"/x"),
            (b"te", b"trailers"),
            (b"content-type", b"application/grpc"),
            (b"user-agent", b"u"),
            (b"x-bin", b"AAH/"),
            (b"x-bin", b"/w,/w=="),
            (b"x-latin", b"\xe4"),
        ]
    )

    assert found.metadata == (
        ("user-agent", "u"),
        ("x-bin", b"\0\1\xff"),
        ("x-bin", b"\xff"),
        ("x-bin", b"\xff"),
        ("x-latin", "ä"),
    )


def test_metadata_that_are_no_base64_are_refused():
    with pytest.raises(wire.WireError, match="'x-bin' is no base64"):
        wire.asked([(b"x-bin", b"A")])


def test_an_encoding_that_nobody_knows_is_refused_with_those_that_are_known():
    with pytest.raises(wire.UnknownEncoding, match="'snappy', only identity,deflate,gzip"):
        wire.asked([(b"grpc-encoding", b"snappy")])


def test_a_status_with_its_text_and_metadata():
    assert wire.status_headers(Code.NOT_FOUND, "a%ü\n", [("k", "v"), ("k-bin", b"\xff")]) == [
        (b"grpc-status", b"5"),
        (b"grpc-message", b"a%25%C3%BC%0A"),
        (b"k", b"v"),
        (b"k-bin", b"/w"),
    ]


def test_messages_are_compressed_if_that_makes_them_shorter():
    assert wire.framed(b"abc") == b"\0\0\0\0\3abc"
    assert wire.framed(b"abc", b"gzip") == b"\0\0\0\0\3abc"
    long = wire.framed(b"a" * 1000, b"gzip")
    assert long[0] == 1
    assert int.from_bytes(long[1:5], "big") == len(long) - 5 < 100


def test_which_encodings_a_client_takes():
    assert wire.accepts(b"identity, gzip", b"gzip")
    assert not wire.accepts(b"identity,gzipped", b"gzip")
    assert not wire.accepts(b"", b"gzip")
