"""Links: pipelined connections to Redis that survive its restarts.

A link is one connection that many callers share. Commands of one event-loop turn leave in one
write; answers come back in order. A caller that is cancelled leaves the connection alone: its
answer arrives and is dropped (redis-py #2665 is what happens otherwise).

**Every command sent through a link must be idempotent**: when the connection is lost, commands
without an answer are sent again on the next one. Penstock's scripts are so by id, token or nonce.
"""

import asyncio
import contextlib
import math
import re
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import structlog
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import (
    ConnectionError as RedisConnectionError,
)

from penstock.errors import OutOfMemory, StoreRefused, StoreUnavailable, StoreUnsuitable
from penstock.scheduler.scripts import Script
from penstock.scheduler.topology import Topology, ask, connect, topology_of

log = structlog.get_logger()

Argument = str | bytes | int | float

PATIENCE_S = 3.0
"""How long a command waits for a lost connection to come back before it fails."""

SILENCE_S = 5.0
"""A connection with unanswered commands and no answer for this long is taken for dead."""

_RETRY_FIRST_S, _RETRY_MAX_S = 0.05, 1.0
_MINIMUM = {"redis": (7, 0, 15), "valkey": (8, 0, 0)}
# The server cannot do it now, another connection may: reconnect and send again.
_MISPLACED = (
    AskError,
    MovedError,
    ReadOnlyError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    TryAgainError,
)


class _Command:
    __slots__ = ("answer", "words")

    def __init__(self, words: Sequence[Argument], answer: "asyncio.Future[Any]") -> None:
        self.words = words
        self.answer = answer


class Link:
    """One connection to the primary that holds a hash tag; see the module's text."""

    def __init__(
        self,
        topology: Topology,
        tag: str,
        *,
        silence_s: float = SILENCE_S,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._topology = topology
        self._tag = tag
        self._silence_s = silence_s
        self._patience_s = patience_s
        self._unsent: deque[_Command] = deque()
        self._unanswered: deque[_Command] = deque()
        self._wake = asyncio.Event()
        self._answers = 0
        self._down_since: float | None = asyncio.get_running_loop().time()
        self._last_error: BaseException | None = None
        self._sides: list[asyncio.Task[None]] = []
        self.generation = 0
        self._tasks = [
            asyncio.create_task(self._run(), name=f"link {tag}"),
            asyncio.create_task(self._watch(), name=f"link watch {tag}"),
        ]

    def __repr__(self) -> str:
        state = "up" if self.up else "down"
        return f"Link({self._tag}, {state}, {len(self._unanswered)} unanswered)"

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return all(task.done() for task in self._tasks)

    @property
    def up(self) -> bool:
        """Whether there is a connection now."""
        return self._down_since is None

    def down_for_s(self) -> float:
        """Seconds since the connection was lost; 0 while there is one."""
        if self._down_since is None:
            return 0.0
        return asyncio.get_running_loop().time() - self._down_since

    def submit(self, *words: Argument) -> "asyncio.Future[Any]":
        """Send one idempotent command; the future holds its raw answer."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._unsent.append(_Command(words, answer))
        self._wake.set()
        return answer

    async def command(self, *words: Argument) -> Any:
        """Send one idempotent command and wait for its answer.

        Raises:
            StoreUnavailable: no answer, and no connection for some seconds.
            OutOfMemory: Redis is full and refuses writes.
            StoreRefused: Redis answered with another error.
        """
        try:
            return await self.submit(*words)
        except RedisError as error:
            raise _understood(error) from error

    async def call(self, script: Script, keys: Sequence[str], args: Sequence[Argument]) -> Any:
        """Run *script*, loading it where Redis has forgotten it; errors as for `command`."""
        return await self.start(script, keys, args)

    def start(
        self, script: Script, keys: Sequence[str], args: Sequence[Argument]
    ) -> "asyncio.Future[Any]":
        """As `call`, without waiting: the future holds the answer, or what `call` would raise."""
        outcome: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        words = (script.sha, len(keys), *keys, *args)

        def answered(answer: "asyncio.Future[Any]") -> None:
            if outcome.done() or answer.cancelled():
                outcome.cancel()
                return
            error = answer.exception()
            if error is None:
                outcome.set_result(answer.result())
            elif isinstance(error, NoScriptError):
                whole = self.submit("EVAL", script.source, *words[1:])
                whole.add_done_callback(answered)
            else:
                outcome.set_exception(_understood(error))

        self.submit("EVALSHA", *words).add_done_callback(answered)
        return outcome

    async def close(self) -> None:
        """Close the connection; whatever has no answer fails."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._fail_all("the link was closed")

    async def _run(self) -> None:
        pause_s = _RETRY_FIRST_S
        while True:
            try:
                connection = await self._connect()
            except (RedisError, OSError, TimeoutError, StoreUnavailable) as error:
                self._last_error = error
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, _RETRY_MAX_S)
                continue
            down_since, answers = self._down_since, self._answers
            self._down_since = None
            try:
                await self._serve(connection)
            finally:
                await connection.disconnect(nowait=True)
            if isinstance(self._last_error, _MISPLACED) and self._answers == answers:
                # As good as no connection: it loads its data, or is no primary.
                self._down_since = down_since
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, _RETRY_MAX_S)
            else:
                pause_s = _RETRY_FIRST_S

    async def _connect(self) -> AbstractConnection:
        connection = await self._topology.connection(self._tag)
        await connect(connection)
        self.generation += 1
        return connection

    async def _serve(self, connection: AbstractConnection) -> None:
        # What the last connection did not answer goes first, in its old order.
        self._unsent.extendleft(c for c in reversed(self._unanswered) if not c.answer.done())
        self._unanswered.clear()
        self._wake.set()
        sides = [
            asyncio.create_task(self._write(connection)),
            asyncio.create_task(self._read(connection)),
        ]
        self._sides = sides
        try:
            done, _ = await asyncio.wait(sides, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for side in sides:
                side.cancel()
            results = await asyncio.gather(*sides, return_exceptions=True)
            self._down_since = asyncio.get_running_loop().time()
        self._last_error = next(
            (r for r in results if isinstance(r, RedisError | OSError)),
            TimeoutError(f"no answer for {self._silence_s:g} s"),
        )
        for side in done:
            error = None if side.cancelled() else side.exception()
            if error is not None and not isinstance(error, RedisError | OSError):
                # uvloop raises RuntimeError on a transport that is closed. Whatever it was, the
                # link must live on: the next connection begins anew.
                log.warning("redis connection failed", tag=self._tag, error=repr(error))
        log.debug("redis connection lost", tag=self._tag, error=str(self._last_error))

    async def _write(self, connection: AbstractConnection) -> None:
        wake, unsent, unanswered = self._wake, self._unsent, self._unanswered
        while True:
            await wake.wait()
            wake.clear()
            packed: list[bytes] = []
            while unsent:
                command = unsent.popleft()
                if command.answer.done():
                    continue
                packed += connection.pack_command(*command.words)
                unanswered.append(command)
            if packed:
                await connection.send_packed_command(packed, check_health=False)

    async def _read(self, connection: AbstractConnection) -> None:
        unanswered = self._unanswered
        while True:
            error: ResponseError | None = None
            value = None
            try:
                value = await connection.read_response(timeout=math.inf, disconnect_on_error=False)
            except _MISPLACED:
                raise
            except RedisConnectionError:
                raise
            except ResponseError as refused:
                error = refused
            self._answers += 1
            answer = unanswered.popleft().answer
            if answer.done():
                continue
            if error is None:
                answer.set_result(value)
            else:
                answer.set_exception(error)

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        seen, since = -1, loop.time()
        while True:
            await asyncio.sleep(0.25)
            if not self.up:
                since = loop.time()
                if self.down_for_s() > self._patience_s:
                    self._fail_all(f"Redis cannot be reached: {self._last_error}")
            elif self._answers != seen or not self._unanswered:
                seen, since = self._answers, loop.time()
            elif loop.time() - since > self._silence_s:
                for side in self._sides:
                    side.cancel()

    def _fail_all(self, why: str) -> None:
        for command in (*self._unanswered, *self._unsent):
            if not command.answer.done():
                command.answer.set_exception(StoreUnavailable(why))
                # Callers that were cancelled never look at it.
                with contextlib.suppress(asyncio.CancelledError):
                    command.answer.exception()
        self._unanswered.clear()
        self._unsent.clear()


def _understood(error: BaseException) -> BaseException:
    """What a caller should see of Redis's *error*: nobody else knows redis-py's own."""
    if not isinstance(error, RedisError):
        return error
    # Valkey prefixes what a script raised; a full server refuses it before it starts.
    if isinstance(error, OutOfMemoryError) or "OOM" in str(error):
        return OutOfMemory("the queue's memory is full (Redis maxmemory); try again later")
    return StoreRefused(f"Redis refused a command: {error}")


class Links:
    """All links of one process to one Redis.

    Attributes:
        clustered: whether hash tags may live on different servers.
    """

    def __init__(self, url: str, *, patience_s: float = PATIENCE_S) -> None:
        self._url = url
        self._patience_s = patience_s
        self._topology = topology_of(url)
        self._shared: dict[str, Link] = {}
        self._own: list[Link] = []

    @property
    def clustered(self) -> bool:
        """Whether the keyspace is spread over several servers."""
        return self._topology.clustered

    async def __aenter__(self) -> Self:
        try:
            await self._check_server()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._close()

    def to(self, tag: str) -> Link:
        """The shared link to the server that holds *tag*; never block on it."""
        name = tag if self.clustered else ""
        link = self._shared.get(name)
        if link is None:
            link = self._shared[name] = Link(self._topology, tag, patience_s=self._patience_s)
        return link

    def blocking(self, tag: str) -> Link:
        """A link of one's own, for blocking reads of at most a few seconds."""
        link = Link(self._topology, tag, silence_s=2 * SILENCE_S, patience_s=self._patience_s)
        self._own = [own for own in self._own if not own.closed]
        self._own.append(link)
        return link

    async def _check_server(self) -> None:
        # Once, by hand: a wrong password or an old server should be told, not retried.
        try:
            connection = await self._topology.connection("{registry}")
            info = (await ask(connection, "INFO", "server")).decode()
        except AuthenticationError as error:
            raise StoreUnsuitable(
                f"Redis at {shown(self._url)} refuses the login: {error}"
            ) from error
        except (RedisError, OSError, TimeoutError) as error:
            raise StoreUnavailable(
                f"Redis at {shown(self._url)} cannot be reached: {error}; "
                "start it, or correct --redis"
            ) from error
        check_version(info, shown(self._url))

    async def _close(self) -> None:
        for link in (*self._shared.values(), *self._own):
            await link.close()
        self._shared.clear()
        self._own.clear()
        await self._topology.close()


def shown(url: str) -> str:
    """*url* without its password."""
    return re.sub(r"(://[^/@]*?):[^/@]*@", r"\1:***@", url)


def check_version(info: str, where: str) -> None:
    """Refuse servers that lack what the scripts need.

    Args:
        info: the answer to ``INFO server``.
        where: the server, for the error's text.

    Raises:
        StoreUnsuitable: older than Redis 7.0.15 or Valkey 8.0.
    """
    fields = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
    kind = "valkey" if "valkey_version" in fields else "redis"
    text = fields.get(f"{kind}_version", "0")
    version = tuple(int(part) for part in re.findall(r"\d+", text)[:3])
    if version < _MINIMUM[kind]:
        raise StoreUnsuitable(
            f"{where} runs {kind} {text}; Penstock needs Redis 7.0.15 or newer, "
            "or Valkey 8.0 or newer"
        )
