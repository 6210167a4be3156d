"""Host and port as one text, and which addresses are on this machine."""

import pytest

from penstock.client.channel import target_of
from penstock.transport.addresses import address_of, is_here, proxy_options, reachable

PROXY = ("grpc.enable_http_proxy", 0)


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", "127.0.0.1:1"), ("gateway", "gateway:1"), ("::1", "[::1]:1"), ("::", "[::]:1")],
)
def test_an_ipv6_address_stands_in_brackets(host, expected):
    assert address_of(host, 1) == expected


@pytest.mark.parametrize(
    ("listening", "expected"),
    [
        ("0.0.0.0:1", "127.0.0.1:1"),
        ("[::]:1", "[::1]:1"),
        ("10.0.0.2:1", "10.0.0.2:1"),
        ("[::1]:1", "[::1]:1"),
    ],
)
def test_what_listens_everywhere_is_found_on_loopback(listening, expected):
    assert reachable(listening) == expected


@pytest.mark.parametrize(
    "target",
    [
        *("127.0.0.1:8001", "localhost:8001", "localhost", "LOCALHOST:1", "127.9.9.9:1"),
        *("[::1]:8001", "::1", "[::1]", "0.0.0.0:8001", "[::]:8001"),
        *("unix:/run/penstock", "unix:relative", "unix:///run/penstock", "unix-abstract:name"),
        *("dns:///localhost:8001", "dns:localhost:8001", "dns://1.1.1.1/localhost:8001"),
        *("ipv4:127.0.0.1:1,127.0.0.1:2", "ipv6:[::1]:1,[::1]:2"),
    ],
)
def test_what_is_on_this_machine_is_never_behind_a_proxy(target):
    assert is_here(target)
    assert PROXY in proxy_options(target)


@pytest.mark.parametrize(
    "target",
    [
        *("10.0.0.2:8001", "gateway:8001", "localhost.example.org:8001", "[2001:db8::1]:8001"),
        *("dns:///gateway:8001", "ipv4:127.0.0.1:1,10.0.0.2:1", "unixy:8001", "xds:///m"),
    ],
)
def test_other_hosts_may_be_behind_one(target):
    assert not is_here(target)
    assert PROXY not in proxy_options(target)


def test_several_gateways_on_this_machine_are():
    assert PROXY in proxy_options(target_of(["127.0.0.1:1", "localhost:2"]))
