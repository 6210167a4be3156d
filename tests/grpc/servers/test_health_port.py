"""Where whoever watches over a process asks how it is."""

import asyncio
import contextlib
import http.client
import socket

import pytest

from penstock.errors import InvalidConfiguration
from penstock.transport.health import telling_health


def ask(address, path, method="GET"):
    with contextlib.closing(http.client.HTTPConnection(address, timeout=10)) as connection:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read()


async def asked(health, path, method="GET"):
    return await asyncio.to_thread(ask, health.address, path, method)


async def test_a_process_lives_before_it_serves():
    async with telling_health("127.0.0.1", 0) as health:
        before = await asked(health, "/livez"), await asked(health, "/readyz")
        health.ready = True
        after = await asked(health, "/livez"), await asked(health, "/readyz?verbose")

    assert before == ((200, b"ok\n"), (503, b"not ready\n"))
    assert after == ((200, b"ok\n"), (200, b"ok\n"))


async def test_other_questions_are_refused():
    async with telling_health("127.0.0.1", 0) as health:
        elsewhere, posted = await asked(health, "/"), await asked(health, "/livez", "POST")
        head = await asked(health, "/livez", "HEAD")

    assert elsewhere == (404, b"health is at /livez and /readyz\n")
    assert posted[0] == 405
    assert head == (200, b"")


async def test_what_is_no_request_is_hung_up_on_and_others_are_answered():
    async with telling_health("127.0.0.1", 0) as health:
        host, port = health.address.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"x" * 100_000)
        hung_up = await reader.read()
        writer.close()

        assert hung_up == b""
        assert (await asked(health, "/livez"))[0] == 200


async def test_nothing_is_told_where_nobody_asked_for_it():
    async with telling_health("127.0.0.1", None) as health:
        assert health.address == ""


async def test_a_port_that_is_in_use_is_refused_by_the_options_name():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        with pytest.raises(InvalidConfiguration, match=f":{port}: .*--health-port"):
            async with telling_health("127.0.0.1", port):
                pass
