"""How a call ends is told in full: status, text, metadata; and what is known when it begins."""

import json

import grpc
import pytest

LONG_S = 60
HOUR_S = 3600
STATUSES = [status for status in grpc.StatusCode if status is not grpc.StatusCode.OK]
TEXT = "words % ü \n x"


def failure(call):
    with pytest.raises(grpc.RpcError) as failed:
        call()
    return failed.value


@pytest.mark.parametrize("status", STATUSES, ids=lambda status: status.name)
def test_each_status_comes_with_its_text(client, status):
    message = f"{status.value[0]} {TEXT}".encode()
    failed = failure(lambda: client.one("Fail")(message, timeout=LONG_S))

    assert (failed.code(), failed.details()) == (status, TEXT)


def test_metadata_come_with_a_status(client):
    failed = failure(lambda: client.one("Fail")(b"9 x", timeout=LONG_S))

    metadata = [(name, value) for name, value in failed.trailing_metadata() if name[0] == "x"]
    assert metadata == [("x-trail", "t"), ("x-trail-bin", b"\0\xff")]


def test_a_status_after_some_replies(client):
    replies = []

    def collect():
        for reply in client.answers("FailAfterThree")(b"", timeout=LONG_S):
            replies.append(reply)  # noqa: PERF402 - it fails in between

    failed = failure(collect)
    assert (failed.code(), failed.details()) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "after three",
    )
    assert replies == [b"m0", b"m1", b"m2"]


def test_what_nobody_foresaw_leaves_as_an_id(client):
    failed = failure(lambda: client.one("Crash")(b"", timeout=LONG_S))

    assert failed.code() is grpc.StatusCode.INTERNAL
    assert failed.details().startswith("internal error ")


def test_there_is_no_such_method(client):
    messages = iter([b"1"] * 100)

    for call in (
        lambda: client.one("Nope")(b"", timeout=LONG_S),
        lambda: list(client.converses("Nope")(messages, timeout=LONG_S)),
    ):
        assert failure(call).code() is grpc.StatusCode.UNIMPLEMENTED


def test_metadata_arrive(client):
    sent = [
        ("x-a", "1"),
        ("x-a", "2"),
        ("x-b-bin", bytes(range(256))),
        ("x-b-bin", b"\xff"),
        ("x-long", "z" * 4000),
    ]

    told = json.loads(client.one("Asked")(b"", metadata=sent, timeout=LONG_S))

    came = [(name, value) for name, value in told["metadata"] if name.startswith("x-")]
    assert came == [
        (name, value if isinstance(value, str) else list(value)) for name, value in sent
    ]
    names = {name for name, _ in told["metadata"]}
    assert "user-agent" in names
    assert not names & {"te", "content-type", "grpc-timeout", "grpc-accept-encoding", ":path"}


def test_who_calls_and_until_when(client):
    told = json.loads(client.one("Asked")(b"", timeout=HOUR_S))
    assert told["connection"].startswith("ipv4:127.0.0.1:")
    assert told["local"] is True
    # gRPC's client writes three digits of what is left, rounded up; the call takes a part of it.
    assert HOUR_S / 2 < told["remaining_s"] < HOUR_S * 1.01

    told = json.loads(client.one("Asked")(b""))
    assert told["remaining_s"] == float("inf")


def test_many_and_long_metadata(client):
    many = [(f"x-h{number}", "v") for number in range(120)]

    assert client.one("Echo")(b"x", metadata=many, timeout=LONG_S) == b"x"
