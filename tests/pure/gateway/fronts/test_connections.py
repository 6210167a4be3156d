"""Connections of clients, as the kernel has them."""

import asyncio
import socket
import struct
import sys

import pytest

from penstock.clock import Deadline
from penstock.gateway.fronts.grpc.connections import all_sent, gone, is_local


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
async def test_it_waits_for_what_the_other_end_has_no_room_for():
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
        with near, far:
            near.setblocking(False)
            written = 0
            try:
                while True:
                    written += near.send(bytes(1 << 16))
            except BlockingIOError:
                pass
            waiting = asyncio.create_task(all_sent(Deadline.after(60)))
            done, _ = await asyncio.wait({waiting}, timeout=0.05)
            assert not done

            while written:
                written -= len(await asyncio.to_thread(far.recv, 1 << 16))

            await waiting


@pytest.mark.parametrize(
    ("peer", "local"),
    [
        ("ipv4:127.0.0.1:1", True),
        ("ipv4:127.8.9.1:40000", True),
        ("ipv6:[::1]:1", True),
        ("ipv6:%5B::1%5D:1", True),
        ("ipv6:[::ffff:127.0.0.1]:1", True),
        ("unix:", True),
        ("unix:/tmp/x", True),
        ("unix-abstract:x", True),
        ("ipv4:10.0.0.1:1", False),
        ("ipv4:128.0.0.1:1", False),
        ("ipv6:[::ffff:10.0.0.1]:1", False),
        ("ipv6:%5Bfe80::1%25eth0%5D:1", False),
        ("vsock:1:2", False),
        ("ipv4:localhost:1", False),
        ("", False),
    ],
)
def test_who_is_on_this_machine(peer, local):
    assert is_local(peer) is local


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
@pytest.mark.parametrize(
    ("host", "asked", "peer"),
    [
        ("127.0.0.1", "127.0.0.1", "ipv4:127.0.0.1:{}"),
        ("::1", "::1", "ipv6:[::1]:{}"),
        ("::", "127.0.0.1", "ipv4:127.0.0.1:{}"),
        ("::", "127.0.0.1", "ipv6:[::ffff:127.0.0.1]:{}"),
    ],
)
@pytest.mark.parametrize("how", ["close", "reset"])
def test_who_has_gone(host, asked, peer, how):
    six = ":" in host
    family = socket.AF_INET6 if six else socket.AF_INET
    with socket.create_server((host, 0), family=family, dualstack_ipv6=six) as server:
        address = asked, server.getsockname()[1]
        stays, leaves = (socket.create_connection(address) for _ in range(2))
        near = [server.accept()[0] for _ in range(2)]
        peers = [peer.format(one.getsockname()[1]) for one in (stays, leaves)]

        assert gone([*peers, "unix:", "nonsense"]) == set()
        if how == "reset":
            leaves.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        leaves.close()

        assert gone(peers) == {peers[1]}
        for one in (stays, *near):
            one.close()
