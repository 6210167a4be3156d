"""Connections of clients: how many there may be, where they come from, how one is cut off.

grpc.aio has no call that ends a connection, nor one that ends a call whose reply it has been given.
So a connection is ended where it is the kernel's: its socket is shut down, and gRPC sees its client
go (Linux; ADR 0026).
"""

import asyncio
import contextlib
import fcntl
import os
import resource
import socket
import stat
import struct
import sys
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from itertools import chain
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from penstock.clock import Deadline

_SIOCOUTQNSD: Final = 0x894B
"""Linux, linux/sockios.h: bytes that were written to a socket and have not left yet."""

_LOOK_EVERY_S: Final = 0.01
_OWN_DESCRIPTORS: Final = 256
"""Of a gateway: its connections with Redis and workers, files, pipes."""

_MAPPED: Final = "::ffff:"
_MAPPED_BYTES: Final = bytes(10) + b"\xff\xff"
_TABLES: Final = (Path("/proc/self/net/tcp"), Path("/proc/self/net/tcp6"))
_ESTABLISHED: Final = "01"


def most_connections(wanted: int) -> int:
    """*wanted*, or as many as this process may have descriptors for: all that it may."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    return max(1, min(wanted, soft - _OWN_DESCRIPTORS))


def cut_off(peer: str) -> bool:
    """End the connection with *peer*, as gRPC writes it; whether there was one.

    All its calls end, and what is held for them is freed.
    """
    wanted = _address(peer)
    if wanted is None or sys.platform != "linux":
        return False
    for path in Path("/proc/self/fd").iterdir():
        # One that is closed meanwhile may be another when it is looked at: hence the copy, which
        # is one socket for good.
        with contextlib.suppress(OSError):
            copy = os.dup(int(path.name))
            try:
                if _ends(copy, wanted):
                    return True
            finally:
                os.close(copy)
    return False


def _ends(descriptor: int, wanted: tuple[str, int]) -> bool:
    """Shut the socket down, if it is one with *wanted* at its other end."""
    if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
        return False
    with socket.socket(fileno=os.dup(descriptor)) as found:
        if found.family not in (socket.AF_INET, socket.AF_INET6):
            return False
        host, port = found.getpeername()[:2]
        if (host.removeprefix(_MAPPED), port) != wanted:
            return False
        found.shutdown(socket.SHUT_RDWR)
    return True


def _address(peer: str) -> tuple[str, int] | None:
    """Host and port of "ipv4:127.0.0.1:5" or "ipv6:%5B::1%5D:5"; None for anything else."""
    family, _, rest = unquote(peer).partition(":")
    host, _, port = rest.rpartition(":")
    if family not in ("ipv4", "ipv6") or not port.isdigit():
        return None
    return host.strip("[]").removeprefix(_MAPPED), int(port)


def gone(peers: Iterable[str]) -> set[str]:
    """Those of *peers*, as gRPC writes them, who have closed their end of the connection (Linux).

    The kernel's table is read, which is long where there are many connections: not on the loop.
    """
    asked = {peer: _in_table(*address) for peer in peers if (address := _address(peer))}
    wanted = set(chain.from_iterable(asked.values()))
    if sys.platform != "linux":
        return set()
    there = set()
    for table in _TABLES:
        with contextlib.suppress(OSError), table.open() as lines:
            for line in lines:
                fields = line.split(None, 4)
                if fields[2] in wanted and fields[3] == _ESTABLISHED:
                    there.add(fields[2])
    return {peer for peer, names in asked.items() if there.isdisjoint(names)}


def _in_table(host: str, port: int) -> tuple[str, ...]:
    """What the kernel may call this end of a connection: IPv4 has a name as IPv6 as well."""
    packed = ip_address(host.partition("%")[0]).packed
    names = [packed] if len(packed) > 4 else [packed, _MAPPED_BYTES + packed]
    # Each 32 bits are a number, in the machine's order.
    words = (struct.iter_unpack("=I", name) for name in names)
    return tuple("".join(f"{word:08X}" for (word,) in name) + f":{port:04X}" for name in words)


def is_local(peer: str) -> bool:
    """Whether *peer*, as gRPC names it, is on this machine: on loopback, or a Unix socket."""
    return _is_local(peer.rpartition(":")[0])


@lru_cache(maxsize=1024)
def _is_local(address: str) -> bool:
    """*address*: without the port, so that each is looked at once."""
    kind, _, host = unquote(address).partition(":")
    if kind in {"unix", "unix-abstract"}:
        return True
    try:
        found = ip_address(host.strip("[]"))
    except ValueError:
        return False
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return (mapped or found).is_loopback


async def all_sent(deadline: Deadline) -> None:
    """Wait until what was written to this process's sockets is on its way (Linux)."""
    if sys.platform == "linux":
        while _unsent() and not deadline.passed():  # noqa: ASYNC110 - the kernel tells nobody
            await asyncio.sleep(_LOOK_EVERY_S)


def _unsent() -> bool:
    """Whether the kernel still holds bytes that a socket's other end has no room for."""
    return any(_held_by(int(path.name)) for path in Path("/proc/self/fd").iterdir())


def _held_by(descriptor: int) -> int:
    # It may have been closed meanwhile, or listen.
    with contextlib.suppress(OSError):
        if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            unsent = fcntl.ioctl(descriptor, _SIOCOUTQNSD, bytes(4))
            return int.from_bytes(unsent, sys.byteorder)
    return 0
