"""Where Redis is: one server, a Sentinel group, or a Cluster, named by one URL.

========================================== ================================================
``redis://[user:password@]host:port/db``    one server; ``rediss://`` with TLS
``unix:///path/to/socket``                  one server on this machine
``redis+sentinel://h1:p1,h2:p2/service``    the primary that the Sentinels name
``redis+cluster://h1:p1,h2:p2``             the primary of the key's slot
========================================== ================================================

``rediss+sentinel`` and ``rediss+cluster`` use TLS, to Sentinels as well unless ``?sentinel_tls=no``
says otherwise. ``?ca=&cert=&key=&password_file=`` name files (`penstock.transport.store_files`).
"""

import asyncio
import errno
import os
import re
import ssl
from abc import ABC, abstractmethod
from collections import deque
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from redis.asyncio.connection import (
    AbstractConnection,
    Connection,
    SSLConnection,
    parse_url,
)
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import AuthenticationError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError

from penstock.errors import InvalidConfiguration, StoreUnavailable, chain_of
from penstock.scheduler.store.entry import Entry, why_not
from penstock.transport.store_files import without_files

CONNECT_TIMEOUT_S = 2.0
_SENTINEL_PORT = 26379
_REDIS_PORT = 6379


class Topology(ABC):
    """Knows which server holds a hash tag at present."""

    clustered = False

    def __init__(
        self, entry: Entry, kind: type[AbstractConnection], options: dict[str, Any]
    ) -> None:
        """*kind* and *options*: what connections are made of."""
        self.entry = entry
        self.entry.user = options.get("username")
        self._type = kind
        self._extra = options

    @abstractmethod
    async def connection(self, tag: str) -> AbstractConnection:
        """A new, unconnected connection to the primary that holds *tag*.

        Raises:
            StoreUnavailable: nobody can say where that is now.
        """

    async def close(self) -> None:  # noqa: B027 - most open nothing
        """Give up whatever was opened to find out."""

    def _to(self, **where: Any) -> AbstractConnection:
        # No retries and no read timeout here: Link resends by itself, and reads block on purpose.
        options: dict[str, Any] = {
            "protocol": 2,
            "socket_timeout": None,
            "socket_connect_timeout": CONNECT_TIMEOUT_S,
            "retry": Retry(NoBackoff(), 0),
            "health_check_interval": 0,
            **self._extra,
            **self.entry.given(),
            **where,
        }
        return self.entry.opened(self._type(**options))


def topology_of(url: str) -> Topology:
    """The topology that *url* names.

    Raises:
        InvalidConfiguration: the URL is none of the forms above.
    """
    try:
        return _topology_of(url)
    except ValueError as error:
        # Not its words: they may repeat a password.
        raise InvalidConfiguration(
            "--redis: this is no URL: write redis://host:port/db, unix:///path/to/socket, "
            "redis+sentinel://h1,h2/service or redis+cluster://h1,h2"
        ) from error


def _topology_of(url: str) -> Topology:
    scheme, _, rest = url.partition("://")
    place = re.split("[/?#]", rest, maxsplit=1)[0]
    if place and "@" in rest and "@" not in place:
        # Parsers would take half of the password for a port, and say so.
        raise InvalidConfiguration(
            "--redis: write / ? # and @ in a password as %2F %3F %23 and %40"
        )
    base, _, kind = scheme.partition("+")
    url, files = without_files(url)
    entry = Entry(files)
    if kind == "sentinel" and base in ("redis", "rediss"):
        return SentinelGroup(url, entry, tls=base == "rediss")
    if kind == "cluster" and base in ("redis", "rediss"):
        return Cluster(url, entry, tls=base == "rediss")
    return OneServer(url, entry)


class OneServer(Topology):
    """A single Redis or Valkey server."""

    def __init__(self, url: str, entry: Entry) -> None:
        try:
            found: dict[str, Any] = dict(parse_url(url))
        except ValueError as error:
            raise InvalidConfiguration(
                f"--redis: {error}; also understood: redis+sentinel://h1,h2/service "
                "and redis+cluster://h1,h2"
            ) from error
        super().__init__(entry, found.pop("connection_class", Connection), found)

    async def connection(self, tag: str) -> AbstractConnection:  # noqa: ARG002 one for all tags
        """A new connection to the server."""
        return self._to()


class SentinelGroup(Topology):
    """Sentinels that watch a primary and its replicas."""

    def __init__(self, url: str, entry: Entry, *, tls: bool) -> None:
        parts = urlsplit(url)
        path = parts.path.strip("/").split("/")
        if not path[0]:
            raise InvalidConfiguration("--redis: name the service after the hosts: /mymaster")
        if len(path) > 1 and not path[1].isdigit():
            raise InvalidConfiguration(f"--redis: '{path[1]}' is no database's number")
        super().__init__(entry, SSLConnection if tls else Connection, _credentials(url))
        self._service = path[0]
        tls = tls and parse_qs(parts.query).get("sentinel_tls") != ["no"]
        if len(path) > 1:
            self._extra["db"] = int(path[1])
        self._sentinel = Sentinel(  # type: ignore[no-untyped-call]
            _hosts(url, _SENTINEL_PORT),
            # No retries: while one does not answer, the next one is asked.
            sentinel_kwargs={
                "socket_timeout": CONNECT_TIMEOUT_S,
                "socket_connect_timeout": CONNECT_TIMEOUT_S,
                "retry": Retry(NoBackoff(), 0),
                **(entry.sentinel_options() if tls else {}),
            },
        )

    async def connection(self, tag: str) -> AbstractConnection:  # noqa: ARG002 one for all tags
        """A new connection to the present primary."""
        try:
            host, port = await self._sentinel.discover_master(self._service)
        except MasterNotFoundError as error:
            # Its own text is a page of redis-py's objects.
            raise StoreUnavailable(
                f"no Sentinel names a primary for '{self._service}': none answers, or none knows "
                "it; start them, or correct --redis"
            ) from error
        except (RedisError, OSError) as error:
            raise StoreUnavailable(
                f"no Sentinel names a primary for '{self._service}': {reason_of(error)}"
            ) from error
        return self._to(host=host, port=port)

    async def close(self) -> None:
        """Close the connections to the Sentinels."""
        for client in self._sentinel.sentinels:
            await client.aclose()


class Cluster(Topology):
    """Redis Cluster or Valkey Cluster."""

    clustered = True

    def __init__(self, url: str, entry: Entry, *, tls: bool) -> None:
        super().__init__(entry, SSLConnection if tls else Connection, _credentials(url))
        self._named = _hosts(url, _REDIS_PORT)
        self._hosts = deque(self._named)

    async def connection(self, tag: str) -> AbstractConnection:
        """A new connection to the primary of the slot that *tag* hashes to."""
        slot = key_slot(tag.encode())
        why: Exception | None = None
        # Asked anew each time, since a connection is opened because the last one failed; and each
        # time another server, since one that was cut off may not know who has the slot now.
        for _ in range(len(self._hosts)):
            host, port = self._hosts[0]
            self._hosts.rotate(-1)
            try:
                slots = await ask(self._to(host=host, port=port), "CLUSTER", "SLOTS")
            except AuthenticationError:
                raise
            except (RedisError, OSError) as error:
                why = error
                continue
            # One that does not know its own address has the one by which it was reached.
            primaries = [
                (first, last, (address or b"").decode() or host, at)
                for first, last, (address, at, *_), *_ in slots
            ]
            self._hosts = deque(dict.fromkeys([*(p[2:] for p in primaries), *self._named]))
            for first, last, host, port in primaries:
                if first <= slot <= last:
                    return self._to(host=host, port=port)
        reason = reason_of(why) if why else "nobody has it"
        raise StoreUnavailable(
            f"the cluster has no primary for {tag}: {reason}; start it, or correct --redis"
        )


async def connect(connection: AbstractConnection) -> None:
    """Connect it as a whole: a server that is stopped accepts connections, and greets nobody.

    Raises:
        TimeoutError: it did not answer within `CONNECT_TIMEOUT_S`.
    """
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            await connection.connect()  # type: ignore[no-untyped-call]
    except BaseException as error:
        await hang_up(connection)
        if isinstance(error, TimeoutError):
            raise TimeoutError(f"no answer for {CONNECT_TIMEOUT_S:g} s") from None
        # On a unix socket, redis-py hides why the server refused.
        if isinstance(error, RedisConnectionError) and isinstance(error.__cause__, RedisError):
            raise error.__cause__ from None
        raise


async def hang_up(connection: AbstractConnection) -> None:
    """Close *connection* within this event loop's next turn, which may be its last.

    TLS would say farewell first, and wait for the server's.
    """
    writer: Any = connection._writer  # noqa: SLF001 - redis-py offers no other way
    if writer is not None:
        writer.transport.abort()
    await connection.disconnect(nowait=True)
    await asyncio.sleep(0)


async def ask(connection: AbstractConnection, *words: str) -> Any:
    """Send one command on a new *connection*, and close it.

    Raises:
        TimeoutError: no answer within `CONNECT_TIMEOUT_S`.
    """
    await connect(connection)
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            await connection.send_command(*words, check_health=False)
            return await connection.read_response()
    finally:
        await hang_up(connection)


def reason_of(error: BaseException) -> str:
    """Why a server was not reached, in the system's words where it has any.

    redis-py and asyncio write addresses and numbers around them.
    """
    origin = next((one for one in chain_of(error) if isinstance(one, OSError)), None)
    if isinstance(origin, ssl.SSLError):
        return why_not(origin)
    if origin is not None and origin.errno is not None and origin.errno in errno.errorcode:
        return os.strerror(origin.errno)
    reason = None if origin is None else origin.strerror
    return (reason or str(error) or type(error).__name__).rstrip(". ")


def _hosts(url: str, default_port: int) -> list[tuple[str, int]]:
    netloc = urlsplit(url).netloc.rpartition("@")[2]
    hosts = []
    for item in netloc.split(","):
        host, _, port = item.partition(":")
        if not host or (port and not port.isdigit()):
            raise InvalidConfiguration(f"--redis: '{item}' is not host or host:port")
        hosts.append((host, int(port or default_port)))
    return hosts


def _credentials(url: str) -> dict[str, Any]:
    user, _, password = urlsplit(url).netloc.rpartition("@")[0].partition(":")
    found = {"username": unquote(user), "password": unquote(password)}
    return {name: value for name, value in found.items() if value}
