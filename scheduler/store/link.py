"""Links: pipelined connections to Redis that survive its restarts.

A link is one connection that many callers share. Commands of one event-loop turn leave in one
write; answers come back in order. A caller that is cancelled leaves the connection alone: its
answer arrives and is dropped (redis-py #2665 is what happens otherwise).

**Every command sent through a link must be idempotent**: when the connection is lost, commands
without an answer are sent again on the next one. Penstock's scripts are so by id, token or nonce.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import structlog
from redis.exceptions import RedisError

from penstock.errors import StoreUnavailable
from penstock.retry import Backoff
from penstock.scheduler.store.conversation import (
    Argument,
    Conversation,
    Refused,
    pack,
    pack_call,
    understood,
)
from penstock.scheduler.store.scripts import Script
from penstock.scheduler.store.suitability import check_server
from penstock.scheduler.store.topology import Topology, connect, hang_up, topology_of

log = structlog.get_logger()

PATIENCE_S = 3.0
"""How long a command waits for a lost connection to come back before it fails."""

SILENCE_S = 5.0
"""A connection with unanswered commands and no answer for this long is taken for dead."""

_BACKOFF: Final = Backoff(0.05, 1.0)
_LOOK_S: Final = 0.25
"""How often to look at one's patience while there is no connection."""

_FIRST_WINDOW: Final = 64
"""Commands that a new connection may have without an answer; each answer makes room for two more.

A server that was silent may be overloaded, and is not to have all at once what it did not answer.
"""
# The server cannot do it now, another connection may: reconnect and send again.
_MISPLACED: Final = frozenset(
    {"ASK", "MOVED", "READONLY", "LOADING", "CLUSTERDOWN", "MASTERDOWN", "TRYAGAIN"}
)

OnReply = Callable[[Any], None]
"""Gets a command's answer, or the exception that there is instead."""


@dataclass(slots=True)
class _Command:
    parts: Sequence[bytes]
    on_reply: OnReply
    waiting: "asyncio.Future[Any] | None"

    @property
    def wanted(self) -> bool:
        """Whether anybody still waits for its answer."""
        return self.waiting is None or not self.waiting.done()


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
        self._silence_s = self._least_silence_s = silence_s
        self._patience_s = patience_s
        self._loop = asyncio.get_running_loop()
        self._unsent: deque[_Command] = deque()
        self._unanswered: deque[_Command] = deque()
        self._conversation: Conversation | None = None
        self._leaving = False
        self._answers = 0
        self._window = _FIRST_WINDOW
        self._down_since: float | None = self._loop.time()
        self._asked = asyncio.Event()
        self._went_down = asyncio.Event()
        self._heard_s = 0.0
        self._last_error: BaseException | None = None
        self.connections_made = 0
        self._tasks = [
            asyncio.create_task(self._run(), name=f"link {tag}"),
            asyncio.create_task(self._watch(), name=f"link watch {tag}"),
            asyncio.create_task(topology.entry.stay_logged_in(lambda: self.up, self.post)),
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
        return 0.0 if self._down_since is None else self._loop.time() - self._down_since

    def submit(self, *words: Argument) -> "asyncio.Future[Any]":
        """Send one idempotent command; the future holds its answer, or what `command` raises."""
        waiting, on_reply = self._waiting()
        self._send(_Command(pack(words), on_reply, waiting))
        return waiting

    def post(self, on_reply: OnReply, *words: Argument) -> None:
        """As `submit`; *on_reply* gets the answer, or the error as an exception, as it comes."""
        self._send(_Command(pack(words), lambda answer: on_reply(understood(answer)), None))

    async def command(self, *words: Argument) -> Any:
        """Send one idempotent command and wait for its answer.

        Raises:
            StoreUnavailable: no answer, and no connection for some seconds.
            OutOfMemory: Redis is full and refuses writes.
            StoreRefused: Redis answered with another error.
        """
        return await self.submit(*words)

    def call(
        self, script: Script, prefix: str, args: Sequence[Argument], *, at_once: bool = False
    ) -> "asyncio.Future[Any]":
        """Run *script*, loading it where Redis has forgotten it; as for `submit`.

        Args:
            prefix: how the keys begin that it may use; they lie in one slot.
            at_once: it is on its way when this returns.
        """
        waiting, on_reply = self._waiting()
        self._run_script(script, prefix, args, on_reply, waiting)
        if at_once:
            self.flush()
        return waiting

    def start(
        self, script: Script, prefix: str, args: Sequence[Argument], on_reply: OnReply
    ) -> None:
        """As `call`, at once: *on_reply* gets the answer, or the error as an exception."""
        self._run_script(script, prefix, args, lambda answer: on_reply(understood(answer)), None)
        self.flush()

    def may_block(self, seconds: float) -> None:
        """From now on an answer may take so long, without being silence."""
        self._silence_s = max(self._least_silence_s, seconds + SILENCE_S)

    async def close(self) -> None:
        """Close the connection; whatever has no answer fails."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._fail_all("the link was closed")
        # What was cut off while it opened is closed in the loop's next turn, which may be its last.
        await asyncio.sleep(0)

    def _waiting(self) -> tuple["asyncio.Future[Any]", OnReply]:
        """A future, and what gives it its answer."""
        waiting: asyncio.Future[Any] = self._loop.create_future()

        def on_reply(answer: Any) -> None:
            if waiting.done():
                return
            answer = understood(answer)
            if isinstance(answer, Exception):
                waiting.set_exception(answer)
                # Whoever does not look at it has a reason.
                waiting.exception()
            else:
                waiting.set_result(answer)

        return waiting, on_reply

    def _run_script(
        self,
        script: Script,
        prefix: str,
        args: Sequence[Argument],
        on_reply: OnReply,
        waiting: "asyncio.Future[Any] | None",
    ) -> None:
        def answered(answer: Any) -> None:
            if isinstance(answer, Refused) and answer.kind == "NOSCRIPT":
                words = ("EVAL", script.source, 1, prefix, *args)
                self._send(_Command(pack(words), on_reply, waiting))
            else:
                on_reply(answer)

        self._send(_Command(pack_call(script.sha, prefix, args), answered, waiting))

    # out

    def _send(self, command: _Command) -> None:
        self._unsent.append(command)
        self._leave_soon()

    def _leave_soon(self) -> None:
        """Commands of one event-loop turn leave in one write."""
        if not self._leaving and self._conversation is not None:
            self._leaving = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Send now what would leave at the end of this event-loop turn."""
        self._leaving = False
        if self._conversation is None:
            return
        parts: list[bytes] = []
        unsent, unanswered = self._unsent, self._unanswered
        if unsent and not unanswered:
            self._heard_s = self._loop.time()
            self._asked.set()
        while unsent and len(unanswered) < self._window:
            command = unsent.popleft()
            if command.wanted:
                parts += command.parts
                unanswered.append(command)
        if parts:
            self._conversation.say(parts)

    # in

    def _hear(self, answer: Any) -> None:
        if isinstance(answer, Refused) and answer.kind in _MISPLACED:
            if self._conversation is not None:
                self._conversation.end(answer)
            return
        self._answers += 1
        self._heard_s = self._loop.time()
        command = self._unanswered.popleft()
        if self._unsent:
            self._window += 2
            self._leave_soon()
        command.on_reply(answer)

    # the connection

    async def _run(self) -> None:
        attempt = 1
        while True:
            answers, down_since = self._answers, self._down_since
            try:
                await self._converse()
            except (RedisError, OSError, TimeoutError, StoreUnavailable) as error:
                self._last_error = error
            except Exception as error:
                # A defect; but whoever sends through a link must not wait for ever.
                self._last_error = error
                log.exception("redis connection failed", tag=self._tag)
            if self._answers > answers:
                # Others have lost the server in the same moment.
                attempt = 1
            else:
                # As good as no connection: nobody there, or it loads its data, or is no primary.
                self._down_since = down_since
            await asyncio.sleep(_BACKOFF.delay_s(attempt))
            attempt += 1

    async def _converse(self) -> None:
        """One life of the connection."""
        connection = await self._topology.connection(self._tag)
        await connect(connection)
        self.connections_made += 1
        conversation = Conversation.take_over(connection, self._hear)
        # What the last connection did not answer goes first, in its old order.
        self._unsent.extendleft(reversed(self._unanswered))
        self._unanswered.clear()
        self._conversation, self._down_since = conversation, None
        self._window = _FIRST_WINDOW
        self._leave_soon()
        try:
            why = await asyncio.shield(conversation.lost)
            self._last_error = why or ConnectionError("the connection was closed")
        finally:
            self._conversation, self._down_since = None, self._loop.time()
            self._went_down.set()
            self._asked.set()
            conversation.end()
            await hang_up(connection)
        log.debug("redis connection lost", tag=self._tag, error=str(self._last_error))

    async def _watch(self) -> None:
        """End a silent connection, and after the patience with none what waits for one."""
        while True:
            if not self.up:
                await asyncio.sleep(_LOOK_S)
                if self.down_for_s() > self._patience_s:
                    why = self._last_error or f"no answer for {self._patience_s:g} s"
                    self._fail_all(f"Redis cannot be reached: {why}")
            elif not self._unanswered:
                # A process has several links, and mostly rests.
                self._asked.clear()
                await self._asked.wait()
            else:
                await self._until_silent(self._heard_s + self._silence_s - self._loop.time())

    async def _until_silent(self, left_s: float) -> None:
        """Wait until the connection may be silent for too long; end it if it is."""
        self._went_down.clear()
        if left_s <= 0 and self._conversation is not None:
            self._conversation.end(TimeoutError(f"no answer for {self._silence_s:g} s"))
            await self._went_down.wait()
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(left_s):
                await self._went_down.wait()

    def _fail_all(self, why: str) -> None:
        commands = [one for one in (*self._unanswered, *self._unsent) if one.wanted]
        self._unanswered.clear()
        self._unsent.clear()
        for command in commands:
            try:
                command.on_reply(StoreUnavailable(why))
            except Exception:
                log.exception("what waited for an answer failed", tag=self._tag)


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
            await check_server(self._topology, self._url)
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._close()

    @property
    def connections_made(self) -> int:
        """By the shared links, in all."""
        return sum(link.connections_made for link in self._shared.values())

    def to(self, tag: str) -> Link:
        """The shared link to the server that holds *tag*; never block on it."""
        name = tag if self.clustered else ""
        link = self._shared.get(name)
        if link is None:
            link = self._shared[name] = Link(self._topology, tag, patience_s=self._patience_s)
        return link

    def blocking(self, tag: str) -> Link:
        """A link of one's own, for blocking reads of a few seconds, or as `may_block` says."""
        link = Link(self._topology, tag, silence_s=2 * SILENCE_S, patience_s=self._patience_s)
        self._own = [own for own in self._own if not own.closed]
        self._own.append(link)
        return link

    async def _close(self) -> None:
        for link in (*self._shared.values(), *self._own):
            await link.close()
        self._shared.clear()
        self._own.clear()
        await self._topology.close()
