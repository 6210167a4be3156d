"""Addresses: host and port as one text, and which of them are on this machine."""

import socket
from ipaddress import ip_address
from typing import Final

_SCHEMES: Final = ("ipv4:", "ipv6:", "dns:")
_HERE: Final = frozenset({"localhost", "ip6-localhost"})
_NO_PROXY: Final = (("grpc.enable_http_proxy", 0),)

Option = tuple[str, int]
"""An option of a gRPC channel."""


def address_of(host: str, port: int) -> str:
    """Both as one text: an IPv6 address stands in brackets, as in "[::1]:8001"."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def family_of(host: str) -> socket.AddressFamily:
    """Of sockets that listen at *host*."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def reachable(address: str) -> str:
    """Where clients on this machine find a server that listens at *address*."""
    host, _, port = address.rpartition(":")
    if host in {"[::]", "::"}:
        return f"[::1]:{port}"
    return f"127.0.0.1:{port}" if host == "0.0.0.0" else address  # noqa: S104


def is_here(target: str) -> bool:
    """Whether a gRPC target is on this machine: a Unix socket, or loopback addresses alone."""
    if target.startswith(("unix:", "unix-abstract:")):
        return True
    for scheme in _SCHEMES:
        if target.startswith(scheme):
            # What may stand before the path names a server of names.
            target = target.removeprefix(scheme).removeprefix("//").rpartition("/")[2]
    return all(_is_place_here(one) for one in target.split(","))


def is_loopback(host: str) -> bool:
    """Whether a server at *host* can be reached from this machine alone."""
    try:
        return ip_address(host.strip("[]").partition("%")[0]).is_loopback
    except ValueError:
        return host.lower() in _HERE


def is_wildcard(host: str) -> bool:
    """Whether *host* stands for all addresses of a machine, so that nobody can call it."""
    try:
        return ip_address(host.strip("[]").partition("%")[0]).is_unspecified
    except ValueError:
        return not host


def proxy_options(target: str) -> tuple[Option, ...]:
    """Options of a channel to *target*: what is on this machine is never behind an HTTP proxy.

    gRPC goes through the one that `grpc_proxy`, `https_proxy` or `http_proxy` name, for loopback
    as well, unless `no_proxy` says otherwise.
    """
    return _NO_PROXY if is_here(target) else ()


def _is_place_here(place: str) -> bool:
    host = place.rpartition(":")[0] if _has_port(place) else place
    host = host.strip("[]").partition("%")[0]
    return is_loopback(host) or (host != "" and is_wildcard(host))


def _has_port(place: str) -> bool:
    """Whether what follows the last colon is a port, and no part of an IPv6 address."""
    return place.count(":") == 1 or "]:" in place
