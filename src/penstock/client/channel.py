"""Where a client connects: one channel, spread over all gateways that it was given."""

import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from penstock.errors import InvalidConfiguration
from penstock.protos.cluster_pb2_grpc import ClusterStub
from penstock.protos.grpc_service_pb2_grpc import GRPCInferenceServiceStub

DEFAULT_URL: Final = "127.0.0.1:8001"

IDEMPOTENCY_KEY: Final = "idempotency-key"
"""Metadata that names a request which may come more than once."""

Metadata = tuple[tuple[str, str], ...]

OPTIONS: Final[tuple[tuple[str, int | str], ...]] = (
    ("grpc.lb_policy_name", "round_robin"),
    # Replies may be as large as the server lets them be: it knows its limit, a client does not.
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # A gateway that restarts is back within a second or two; the default waits up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
    # A gateway that is about to go says so, and gets no more calls; one that does not tell, or is
    # no gateway, counts as healthy (gRPC proposal A17).
    (
        "grpc.service_config",
        '{"healthCheckConfig": {"serviceName": "inference.GRPCInferenceService"}}',
    ),
)
"""Options of every channel, wherever it leads."""


_SCHEME: Final = re.compile(r"^(grpcs?|https?)://")


def scheme_of(urls: str | Sequence[str]) -> str:
    """What stands in front of all *urls*: grpc, grpcs, http, https, or nothing.

    Raises:
        InvalidConfiguration: they differ in that.
    """
    given = [urls] if isinstance(urls, str) else list(urls)
    found = {match[1] if (match := _SCHEME.match(url)) else "" for url in given}
    if len(found) > 1:
        raise InvalidConfiguration("several gateways must be all with TLS, or all without")
    return found.pop() if found else ""


def target_of(urls: str | Sequence[str]) -> str:
    """The gRPC target for one gateway, or for several of them.

    Args:
        urls: "host:port", a list of them, or any one of gRPC's own targets ("dns:///...",
            "unix:..."). Several gateways are given by address; one DNS name may have many.

    Raises:
        InvalidConfiguration: no url, or several of which one is no address.
    """
    given = [urls] if isinstance(urls, str) else list(urls)
    plain = [_SCHEME.sub("", url).strip("/ ") for url in given]
    if not plain or not all(plain):
        raise InvalidConfiguration("a client needs the address of at least one gateway")
    if len(plain) == 1:
        return plain[0]
    versions = {_ip_version(url) for url in plain}
    if len(versions) > 1:
        raise InvalidConfiguration("several gateways must be all IPv4, or all IPv6")
    return f"ipv{versions.pop()}:{','.join(_with_address(url) for url in plain)}"


def methods_on(channel: Any) -> Mapping[str, Any]:
    """The RPCs by their names: those of inference, and of the cluster's own service."""
    return {
        **vars(GRPCInferenceServiceStub(channel)),  # type: ignore[no-untyped-call]
        **vars(ClusterStub(channel)),  # type: ignore[no-untyped-call]
    }


def _with_address(url: str) -> str:
    return url.replace("localhost:", "127.0.0.1:")


def _ip_version(url: str) -> int:
    host, _, port = _with_address(url).rpartition(":")
    try:
        int(port)
        return ipaddress.ip_address(host.strip("[]")).version
    except ValueError:
        raise InvalidConfiguration(
            f"'{url}' is not an IP address with a port, which each of several gateways must be; "
            "or give one DNS name that has them all"
        ) from None
