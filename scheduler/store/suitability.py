"""Whether a server will do: it answers, lets us in, is new enough, and evicts nothing."""

import contextlib
import re
from typing import Final

from redis.exceptions import AuthenticationError, RedisError

from penstock.errors import StoreUnavailable, StoreUnsuitable, chain_of
from penstock.process.redaction import redacted
from penstock.scheduler.store.topology import CONNECT_TIMEOUT_S, Topology, ask, reason_of
from penstock.transport.store_files import without_files

_TRIES: Final = 5
_MINIMUM: Final = {"redis": (7, 0, 15), "valkey": (8, 0, 0)}


def check_version(info: str, where: str) -> None:
    """Refuse servers that lack what the scripts need.

    Args:
        info: the answer to ``INFO server``.
        where: the server, for the error's text.

    Raises:
        StoreUnsuitable: older than Redis 7.0.15 or Valkey 8.0.
    """
    fields = _fields(info)
    kind = "valkey" if "valkey_version" in fields else "redis"
    text = fields.get(f"{kind}_version", "0")
    version = tuple(int(part) for part in re.findall(r"\d+", text)[:3])
    if version < _MINIMUM[kind]:
        raise StoreUnsuitable(
            f"{where} runs {kind} {text}; Penstock needs Redis 7.0.15 or newer, "
            "or Valkey 8.0 or newer"
        )


def check_eviction(info: str, where: str) -> None:
    """Refuse servers that throw jobs away to make room, where others say that they are full.

    Args:
        info: the answer to ``INFO memory``.
        where: the server, for the error's text.

    Raises:
        StoreUnsuitable: it has a limit, and evicts keys when that is reached.
    """
    fields = _fields(info)
    policy = fields.get("maxmemory_policy", "noeviction")
    if policy != "noeviction" and fields.get("maxmemory", "0") != "0":
        raise StoreUnsuitable(
            f"{where} evicts keys when it is full (maxmemory-policy {policy}), and would lose "
            "accepted requests: set maxmemory-policy to noeviction"
        )


def _fields(info: str) -> dict[str, str]:
    return dict(line.split(":", 1) for line in info.splitlines() if ":" in line)


async def _info(topology: Topology) -> str:
    for _ in range(_TRIES):
        with contextlib.suppress(TimeoutError):
            answer: bytes = await ask(await topology.connection("{registry}"), "INFO")
            return answer.decode()
    raise TimeoutError(f"no answer for {_TRIES * CONNECT_TIMEOUT_S:g} s")


async def check_server(topology: Topology, url: str) -> None:
    """Refuse a server that will not do. Once: a wrong password should be told, not retried.

    One that accepts the connection and says nothing is busy, or its machine is: it has longer.

    Raises:
        StoreUnavailable: nobody answers.
        StoreUnsuitable: it refuses the login, is too old, or evicts keys.
    """
    where = redacted(without_files(url)[0])
    try:
        info = await _info(topology)
    except AuthenticationError as error:
        raise StoreUnsuitable(f"Redis at {where} refuses the login: {error}") from error
    except (RedisError, OSError, TimeoutError) as error:
        remedy = "start it, or correct --redis"
        if url.startswith("rediss") and isinstance([*chain_of(error)][-1], ConnectionResetError):
            # It may be gone before its alert is read.
            remedy = "give --redis-cert and --redis-key that its authorities have signed"
        raise StoreUnavailable(
            f"Redis at {where} cannot be reached: {reason_of(error)}; {remedy}"
        ) from error
    check_version(info, where)
    check_eviction(info, where)
