"""What clients send arrives, and what the server writes arrives, whatever the kind of call."""

import threading

import grpc
import pytest
from support.servers.rpc_server import serving

MIB = 1 << 20
LONG_S = 60


@pytest.mark.parametrize("message", [b"", b"x", bytes(range(256)) * 300, bytes(8 * MIB)])
def test_one_message_and_one_reply(client, message):
    assert client.one("Echo")(message, timeout=LONG_S) == message


def test_many_replies(client):
    replies = list(client.answers("Stream")(b"5000 10 0", timeout=LONG_S))

    assert len(replies) == 5000


def test_many_messages(client):
    messages = (b"x" * 10 for _ in range(5000))

    assert client.collects("Count")(messages, timeout=LONG_S) == b"5000 50000"


def test_small_messages_that_come_in_one_piece_are_taken_apart(client):
    messages = [b"%d" % number for number in range(3000)]

    assert list(client.converses("Chat")(iter(messages), timeout=LONG_S)) == messages


def test_large_messages_of_a_stream(client):
    messages = [bytes([number]) * 5 * MIB for number in range(3)]

    assert list(client.converses("Chat")(iter(messages), timeout=LONG_S)) == messages


def test_both_ends_talk_at_once(client):
    never_ends = threading.Event()

    def slowly():
        for _ in range(20):
            never_ends.wait(0.005)
            yield b"s"

    replies = list(client.converses("Duplex")(slowly(), timeout=LONG_S))

    assert len(replies) == 103
    assert replies[-1] == b"end 20"
    assert replies.index(b"r10") < 100


def test_streams_without_a_message(client):
    assert client.collects("Count")(iter([]), timeout=LONG_S) == b"0 0"
    assert list(client.converses("Chat")(iter([]), timeout=LONG_S)) == []


@pytest.mark.parametrize("method", ["Length", "Count"])
def test_a_message_that_is_too_large_is_refused(client, method):
    with pytest.raises(grpc.RpcError) as refused:
        client.one(method)(bytes(17 * MIB), timeout=LONG_S)

    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "larger than max" in refused.value.details()
    assert client.one("Echo")(b"next", timeout=LONG_S) == b"next"


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_compressed_messages(connect, compression):
    client = connect(compression=compression)

    assert client.one("Length")(b"a" * 100_000, timeout=LONG_S) == b"100000"
    assert client.one("Echo")(b"b" * 3 * MIB, timeout=LONG_S) == b"b" * 3 * MIB
    replies = client.converses("Chat")((b"a" * 1000 for _ in range(100)), timeout=LONG_S)
    assert [len(reply) for reply in replies] == [1000] * 100


def test_a_message_that_is_too_large_once_decompressed_is_refused(connect):
    with pytest.raises(grpc.RpcError) as refused:
        connect(compression=grpc.Compression.Gzip).one("Length")(bytes(17 * MIB), timeout=LONG_S)

    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("level", ["low", "medium", "high"])
def test_replies_are_compressed_if_the_server_is_told_to(kind, connect, level):
    with serving(kind, grpc_infer_response_compression_level=level) as address:
        client = connect(address)

        assert client.one("Echo")(b"a" * 300_000, timeout=LONG_S) == b"a" * 300_000
        assert len(list(client.answers("Stream")(b"3 100000 0", timeout=LONG_S))) == 3
