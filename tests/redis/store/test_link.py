"""Links: what is sent gets an answer, whatever happens to the connection meanwhile."""

import asyncio
import contextlib
import itertools
import os
import signal
import socket
import time

import pytest
from support.processes.groups import free_ports
from support.processes.proxy import Proxy
from support.processes.stores import valkey
from support.waiting import until

from penstock.errors import Code, StoreRefused, StoreUnavailable
from penstock.scheduler.store.entry import Entry
from penstock.scheduler.store.link import Link, Links
from penstock.scheduler.store.topology import topology_of
from penstock.transport.store_files import StoreFiles


@contextlib.asynccontextmanager
async def linked(url, *, silence_s=5.0, patience_s=20.0):
    link = Link(topology_of(url), "{p00}", silence_s=silence_s, patience_s=patience_s)
    try:
        yield link
    finally:
        await link.close()


async def test_answers_come_back_to_their_callers(redis_url):
    async with linked(redis_url) as link:
        answers = await asyncio.gather(*(link.command("ECHO", f"{i}") for i in range(1000)))

    assert answers == [b"%d" % i for i in range(1000)]


async def test_commands_of_one_turn_share_a_write(redis_url):
    async with linked(redis_url) as link, linked(redis_url) as other:
        await link.command("PING")

        async def reads():
            told = (await other.command("INFO", "stats")).decode()
            return int(told.partition("total_reads_processed:")[2].split()[0])

        before = await reads()
        await asyncio.gather(*(link.command("ECHO", "x") for _ in range(100)))
        after = await reads()

    # The second INFO is one of them.
    assert after - before <= 5


async def test_the_system_looks_after_a_connection_on_which_nobody_speaks():
    """As everybody rests, nobody else would notice that the server's machine is gone."""
    (port,) = free_ports(1)
    with valkey("--port", str(port)):
        async with linked(f"redis://127.0.0.1:{port}") as link:
            await link.command("PING")
            sock = link._conversation._transport.get_extra_info("socket")
            names = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
            idle_s, pause_s, count = (sock.getsockopt(socket.IPPROTO_TCP, name) for name in names)

            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert idle_s + pause_s * count < 12


async def test_a_caller_that_fails_takes_nobody_along(tmp_path):
    """Neither those who wait as well, nor who watches for silence."""

    def failing(answer):
        raise RuntimeError(f"a defect, at {answer}")

    async with linked(f"unix://{tmp_path / 'nobody'}", patience_s=0.1) as link:
        for _ in range(2):
            link.post(failing, "PING")
            with pytest.raises(StoreUnavailable):
                async with asyncio.timeout(20):
                    await link.command("PING")


async def test_a_refused_command_concerns_its_caller_alone(redis_url):
    async with linked(redis_url) as link:
        good, bad, later = await asyncio.gather(
            link.command("ECHO", "1"),
            link.command("HGET"),
            link.command("ECHO", "2"),
            return_exceptions=True,
        )

    assert (good, later) == (b"1", b"2")
    assert isinstance(bad, StoreRefused)
    assert link.connections_made == 1


async def test_a_command_whose_caller_has_gone_is_not_sent(redis_url):
    async with linked(redis_url) as link:
        # There is no connection yet.
        gone = link.submit("INCR", "counter")
        gone.cancel()

        assert await link.command("GET", "counter") is None


async def test_a_cancelled_caller_leaves_the_connection_usable(redis_url):
    async with linked(redis_url) as link:
        await link.command("PING")
        gone = asyncio.create_task(link.command("BLPOP", "nothing", "0.2"))
        await until(lambda: link._unanswered)
        gone.cancel()
        answers = await asyncio.gather(*(link.command("ECHO", f"{i}") for i in range(3)))

        assert gone.cancelled()
        assert answers == [b"0", b"1", b"2"]
        assert link.connections_made == 1


async def test_commands_survive_a_store_that_is_killed_and_started_again(store):
    async with linked(store.url) as link:
        await link.command("SET", "kept", "yes")
        store.kill()
        waiting = asyncio.create_task(link.command("GET", "kept"))
        await until(lambda: link.down_for_s() > 0.1)
        store.start()

        assert await waiting == b"yes"
        assert link.up
        assert link.connections_made == 2


async def test_what_was_in_flight_when_the_store_died_is_sent_again_in_order(store):
    async with linked(store.url) as link:
        await link.command("PING")
        os.kill(store.process.pid, signal.SIGSTOP)
        waiting = [asyncio.create_task(link.command("APPEND", "order", f"{i}")) for i in range(9)]
        await until(lambda: len(link._unanswered) == 9)
        store.kill()
        store.start()
        await asyncio.gather(*waiting)

        assert (await link.command("GET", "order")).endswith(b"012345678")


async def test_a_killed_connection_is_made_anew(redis_url):
    async with linked(redis_url) as link, linked(redis_url) as other:
        id_ = await link.command("CLIENT", "ID")
        waiting = asyncio.create_task(link.command("BLPOP", "list", "10"))
        await until(lambda: _blocked(other))
        assert await other.command("CLIENT", "KILL", "ID", str(id_)) == 1
        await until(lambda: _blocked(other))
        await other.command("RPUSH", "list", "x")

        assert await waiting == [b"list", b"x"]
        assert await link.command("CLIENT", "ID") != id_


async def test_forgotten_scripts_are_loaded_again(probe):
    await probe.enqueue("a")
    await probe.command("SCRIPT", "FLUSH")

    answers = await asyncio.gather(*(probe.enqueue(f"job-{i}") for i in range(20)))

    assert answers == [[None]] * 20
    assert len(await probe.waiting()) == 21


async def test_a_stopped_server_is_noticed_and_its_patience_ends(store):
    async with linked(store.url, silence_s=0.3, patience_s=0.5) as link:
        await link.command("PING")
        os.kill(store.process.pid, signal.SIGSTOP)
        try:
            # The kernel accepts connections for it; none of them says anything.
            with pytest.raises(StoreUnavailable, match=r"no answer for 0\.3 s"):
                await link.command("PING")
        finally:
            os.kill(store.process.pid, signal.SIGCONT)

        assert await link.command("PING") == b"PONG"


async def test_a_stopped_server_that_goes_on_in_time_answers(store):
    async with linked(store.url, silence_s=0.2) as link:
        await link.command("PING")
        os.kill(store.process.pid, signal.SIGSTOP)
        waiting = asyncio.create_task(link.command("ECHO", "x"))
        await until(lambda: not link.up)
        os.kill(store.process.pid, signal.SIGCONT)

        assert await waiting == b"x"


async def test_a_greeting_that_never_comes_is_not_waited_for(store):
    async with Proxy(store.socket) as proxy:
        proxy.silent = True
        async with linked(proxy.url) as link:
            waiting = asyncio.create_task(link.command("PING"))
            await until(lambda: proxy.swallowed)
            proxy.silent = False

            assert await waiting == b"PONG"


async def test_a_link_that_waits_on_purpose_is_not_taken_for_silent(redis_url):
    async with linked(redis_url, silence_s=3) as link:
        assert await link.command("BLPOP", "nothing", "1") is None
        assert link.connections_made == 1


async def test_no_server_is_told_after_the_patience(store):
    patience_s = 1.0
    async with linked(store.url, patience_s=patience_s) as link:
        await link.command("PING")
        store.kill()
        began = time.monotonic()
        with pytest.raises(StoreUnavailable, match="cannot be reached") as raised:
            await link.command("PING")
        first_s = time.monotonic() - began
        with pytest.raises(StoreUnavailable):
            await link.command("PING")

        assert raised.value.code is Code.UNAVAILABLE
        assert patience_s <= first_s
        # The second time there is no patience left to lose.
        assert time.monotonic() - began - first_s < first_s


async def test_a_server_that_never_said_a_word_is_told_with_the_time_it_had(store):
    os.kill(store.process.pid, signal.SIGSTOP)
    try:
        async with linked(store.url, patience_s=0.5) as link:
            with pytest.raises(StoreUnavailable, match=r"reached: no answer for 0\.5 s"):
                await link.command("PING")
    finally:
        os.kill(store.process.pid, signal.SIGCONT)


@pytest.mark.parametrize("back", [True, False])
async def test_a_server_that_is_no_primary_is_as_good_as_none(store, back):
    async with linked(store.url, patience_s=20 if back else 0.5) as link:
        await link.command("SET", "key", "before")
        store.command("REPLICAOF 127.0.0.1 1")
        waiting = asyncio.create_task(link.command("SET", "key", "after"))
        await until(lambda: link.connections_made >= 3)
        if back:
            store.command("REPLICAOF NO ONE")
            assert await waiting == b"OK"
        else:
            with pytest.raises(StoreUnavailable, match="read only replica"):
                await waiting
        # It asks now and then, not all the time.
        assert link.connections_made < 15


async def test_an_answer_that_may_take_long_is_no_silence(redis_url):
    async with linked(redis_url, silence_s=0.2) as link:
        link.may_block(1)
        await link.command("BLPOP", "nothing", "1")

        assert link.connections_made == 1


async def test_a_link_at_rest_wakes_nobody(redis_url):
    """A process has several, and hundreds of processes mostly rest."""
    async with linked(redis_url) as link:
        await link.command("PING")
        await until(lambda: link._asked._waiters)
        timers = [one for one in asyncio.get_running_loop()._scheduled if not one.cancelled()]

        assert timers == []


async def test_closing_a_link_fails_what_has_no_answer(redis_url):
    async with linked(redis_url) as link:
        await link.command("PING")
        waiting = asyncio.create_task(link.command("BLPOP", "nothing", "10"))
        await until(lambda: link._unanswered)

    with pytest.raises(StoreUnavailable):
        await waiting


async def test_closed_links_are_forgotten(redis_url):
    async with Links(redis_url) as links:
        for _ in range(5):
            link = links.blocking("{p00}")
            await link.command("PING")
            await link.close()
        links.blocking("{p00}")

        assert len(links._own) == 1


async def _blocked(link):
    return "blocked_clients:1" in (await link.command("INFO", "clients")).decode()


class Unheard:
    """A connection whose server takes commands, and answers when its test says so."""

    def __init__(self):
        self.said = 0

    def say(self, parts):
        self.said += len(parts)


class Nowhere:
    entry = Entry(StoreFiles())

    async def connection(self, _tag):
        await asyncio.Event().wait()


async def test_a_server_that_was_silent_does_not_get_everything_at_once():
    """What it did not answer comes in lots that grow with its answers, in order."""
    link = Link(Nowhere(), "{tag}")
    waiting = [link.submit("PING", str(place)) for place in range(1000)]
    server = link._conversation = Unheard()
    link.flush()

    sizes = []
    while server.said < 1000:
        sizes.append(server.said)
        for place in range(sum(one.done() for one in waiting), server.said):
            link._hear(str(place))
        link.flush()

    assert sizes[0] == 64
    assert all(later <= 4 * before for before, later in itertools.pairwise(sizes))
    assert [await one for one in waiting[:64]] == [str(place) for place in range(64)]
    await link.close()
    await asyncio.gather(*waiting, return_exceptions=True)
