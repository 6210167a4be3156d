"""Stores that cannot be used are told at once, in words that help."""

import asyncio
import os
import signal

import pytest
from support.processes.stores import redis, valkey

from penstock.errors import Code, StoreUnavailable, StoreUnsuitable
from penstock.process.redaction import redacted
from penstock.scheduler.store.link import Links
from penstock.scheduler.store.suitability import check_version
from penstock.scheduler.store.topology import CONNECT_TIMEOUT_S

VALKEY = "redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:{}\r\n"
REDIS = "redis_version:{}\r\nredis_mode:standalone\r\n"


async def opened(url):
    async with Links(url, patience_s=0.5):
        pass


@pytest.fixture(scope="module")
def guarded():
    """A store that wants a password."""
    with valkey() as server:
        server.command("CONFIG SET requirepass secret")
        yield server


@pytest.mark.parametrize("login", ["", ":wrong@", "default:wrong@", "nobody:secret@"])
async def test_a_wrong_login_is_refused_without_telling_the_password(guarded, login):
    url = f"unix://{login}{guarded.socket}"

    with pytest.raises(StoreUnsuitable, match="refuses the login") as raised:
        await opened(url)

    assert str(guarded.socket) in str(raised.value)
    assert "wrong@" not in str(raised.value)
    assert "secret" not in str(raised.value)


async def test_the_right_login_is_taken(guarded):
    await opened(f"unix://:secret@{guarded.socket}")


async def test_a_store_that_is_not_there_is_unavailable(tmp_path):
    url = f"unix://{tmp_path}/nothing.sock"

    with pytest.raises(StoreUnavailable, match="start it, or correct --redis") as raised:
        await opened(url)

    assert url in str(raised.value)


@pytest.mark.timeout(20)
async def test_why_a_store_refused_its_greeting_is_told(redis_url):
    """Of an error that came from its own cause, whoever looked for the first one never ended."""
    with pytest.raises(StoreUnavailable, match="DB index is out of range"):
        await opened(f"{redis_url}?db=1000")


async def test_a_port_where_nobody_listens_is_unavailable():
    with pytest.raises(StoreUnavailable) as raised:
        await opened("redis://127.0.0.1:1")

    assert str(raised.value) == (
        "Redis at redis://127.0.0.1:1 cannot be reached: Connection refused; "
        "start it, or correct --redis"
    )


async def test_a_store_that_is_busy_for_a_while_is_waited_for(store):
    os.kill(store.process.pid, signal.SIGSTOP)
    opening = asyncio.create_task(opened(store.url))
    try:
        await asyncio.sleep(1.5 * CONNECT_TIMEOUT_S)
    finally:
        os.kill(store.process.pid, signal.SIGCONT)

    await opening


async def test_a_store_that_says_nothing_is_not_waited_for_long(store):
    os.kill(store.process.pid, signal.SIGSTOP)
    try:
        with pytest.raises(StoreUnavailable, match="no answer for 10 s"):
            await opened(store.url)
    finally:
        os.kill(store.process.pid, signal.SIGCONT)


@pytest.mark.parametrize("kind", [valkey, redis])
@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
async def test_a_store_that_evicts_keys_is_refused(kind, policy):
    server = kind("--maxmemory", "100mb", "--maxmemory-policy", policy)
    if server is None:
        pytest.skip("redis-server is not installed")
    with server:
        with pytest.raises(StoreUnsuitable, match=f"{policy}.* set maxmemory-policy to noeviction"):
            await opened(server.url)

        server.command("CONFIG SET maxmemory-policy noeviction")
        await opened(server.url)


async def test_a_store_without_a_limit_evicts_nothing():
    with valkey("--maxmemory", "0", "--maxmemory-policy", "allkeys-lru") as server:
        await opened(server.url)


async def test_both_servers_of_these_tests_are_new_enough(each_redis_url):
    await opened(each_redis_url)


@pytest.mark.parametrize(
    "info",
    [
        VALKEY.format("8.0.0"),
        VALKEY.format("9.1.2"),
        VALKEY.format("10.0.0-rc1"),
        REDIS.format("7.0.15"),
        REDIS.format("7.2"),
        REDIS.format("8.2.1"),
    ],
)
def test_new_servers_are_taken(info):
    check_version(info, "here")


@pytest.mark.parametrize(
    ("info", "named"),
    [
        (REDIS.format("7.0.14"), "redis 7.0.14"),
        (REDIS.format("6.2.14"), "redis 6.2.14"),
        (VALKEY.format("7.2.9"), "valkey 7.2.9"),
        ("", "redis 0"),
    ],
)
def test_old_servers_are_refused_by_name(info, named):
    with pytest.raises(StoreUnsuitable, match=r"needs Redis 7\.0\.15 or newer") as raised:
        check_version(info, "redis://host")

    assert f"redis://host runs {named};" in str(raised.value)
    assert raised.value.code is Code.FAILED_PRECONDITION


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("redis://host:1/2", "redis://host:1/2"),
        ("redis://:secret@host", "redis://:***@host"),
        ("redis://user:sec:ret@host/0", "redis://user:***@host/0"),
        ("redis+sentinel://:secret@h1:1,h2:2/main", "redis+sentinel://:***@h1:1,h2:2/main"),
        ("unix:///run/store.sock", "unix:///run/store.sock"),
    ],
)
def test_urls_are_shown_without_their_password(url, text):
    assert redacted(url) == text
