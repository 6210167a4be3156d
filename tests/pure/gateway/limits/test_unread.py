"""Replies that clients do not read are bounded, and cost those who read theirs nothing."""

import socket

import pytest

from penstock.errors import Code
from penstock.gateway.fronts.grpc.connections import cut_off, most_connections
from penstock.gateway.limits.memory import RepliesUnread
from penstock.gateway.limits.unread import UnreadReplies


@pytest.fixture
def cut():
    return []


@pytest.fixture
def unread(cut):
    def cut_off(peer):
        cut.append(peer)
        return True

    return UnreadReplies(100, cut_off)


def test_one_connection_may_hold_half(unread):
    unread.take("a", 30)
    unread.take("a", 20)

    with pytest.raises(RepliesUnread, match="--max-unread-mib") as refused:
        unread.take("a", 1)

    assert refused.value.code == Code.RESOURCE_EXHAUSTED
    assert refused.value.retry_after_ms == 1000
    assert (unread.held, unread.refused) == (50, 1)
    unread.take("b", 50)


def test_one_reply_may_always_be_given(unread, cut):
    unread.take("a", 90)

    assert unread.held == 90
    assert not cut


def test_whoever_holds_most_is_cut_off_when_all_hold_too_much(unread, cut):
    unread.take("a", 20)
    unread.take("b", 50)
    unread.take("c", 30)

    unread.take("d", 10)

    assert cut == ["b"]
    assert unread.cut_off == 1


def test_a_connection_that_is_on_its_way_out_counts_no_more(unread, cut):
    for peer in ("a", "b", "c"):
        unread.take(peer, 40)

    unread.take("d", 5)

    assert len(cut) == 1
    unread.give(cut[0], 40)
    assert unread.held == 85


def test_what_was_read_is_held_no_more(unread):
    unread.take("a", 50)
    unread.give("a", 50)
    unread.take("a", 50)

    assert unread.held == 50
    assert "1 connections" in repr(unread)


@pytest.mark.parametrize(
    ("host", "written"), [("127.0.0.1", "ipv4:127.0.0.1:{}"), ("::1", "ipv6:%5B::1%5D:{}")]
)
def test_a_connection_is_cut_off_by_its_peers_name(host, written):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as server:
        address = server.getsockname()[:2]
        with (
            socket.create_connection(address) as client,
            socket.create_connection(address) as other,
        ):
            accepted = [server.accept()[0], server.accept()[0]]
            client.settimeout(10)
            other.settimeout(10)

            assert cut_off(written.format(client.getsockname()[1]))

            assert client.recv(1) == b""
            accepted[1].send(b"x")
            assert other.recv(1) == b"x"
            for one in accepted:
                one.close()


@pytest.mark.parametrize("peer", ["unix:/tmp/x", "ipv4:127.0.0.1:1", "ipv4:127.0.0.1:x", ""])
def test_a_peer_that_is_none_is_not_cut_off(peer):
    assert not cut_off(peer)


def test_connections_leave_descriptors_for_the_gateway_itself():
    assert most_connections(10) == 10
    assert most_connections(2**31 - 1) < 2**31 - 1
