"""The embedded store."""

import asyncio
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError

from penstock.errors import InvalidConfiguration
from penstock.process import private_directories
from penstock.scheduler.store.embedded import EmbeddedStore


@pytest.fixture(autouse=True)
def _own_homes(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def _socket(store):
    return Path(urlsplit(store.url).path)


async def _until(condition, seconds=10.0):
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - another process makes it true
            await asyncio.sleep(0.01)


async def test_only_its_owner_can_reach_it():
    async with EmbeddedStore() as store, Redis.from_url(store.url) as client:
        ports = await client.config_get("port")
        socket = _socket(store)
        modes = [stat.S_IMODE(path.stat().st_mode) for path in (socket, socket.parent)]

        assert next(iter(ports.values())) in ("0", b"0")
        assert modes == [0o700, 0o700]


async def test_it_leaves_nothing_behind(tmp_path):
    async with EmbeddedStore() as store:
        pid, socket = store.pid, _socket(store)

    assert not psutil.pid_exists(pid)
    assert not socket.parent.exists()
    assert list((tmp_path / "state" / "penstock").iterdir()) == []


@pytest.mark.parametrize("directory", ["data", None])
async def test_a_killed_store_comes_back_with_its_data_if_it_has_a_directory(tmp_path, directory):
    async with EmbeddedStore(directory and tmp_path / directory) as store:
        async with Redis.from_url(store.url) as client:
            await client.set("kept", "yes")
            # The log reaches the disk each second; the kernel has it before the reply.
            first = store.pid
            os.kill(first, signal.SIGKILL)

        async def back():
            if store.pid in (None, first):
                return False
            async with Redis.from_url(store.url) as client:
                try:
                    return await client.get("kept") == (b"yes" if directory else None)
                except RedisConnectionError:
                    return False

        await _until(back)


async def test_a_directory_that_was_asked_for_is_kept(tmp_path):
    for run in range(2):
        async with (
            EmbeddedStore(tmp_path / "data") as store,
            Redis.from_url(store.url) as client,
        ):
            assert await client.incr("runs") == run + 1


async def test_two_runs_do_not_share_a_directory(tmp_path, monkeypatch):
    monkeypatch.setattr(private_directories, "LOCK_S", 0.1)
    async with EmbeddedStore(tmp_path / "data"):
        with pytest.raises(InvalidConfiguration, match="in use by another run"):
            async with EmbeddedStore(tmp_path / "data"):
                pass


async def test_a_full_store_refuses_instead_of_forgetting():
    async with (
        EmbeddedStore(memory_bytes=4 << 20) as store,
        Redis.from_url(store.url) as client,
    ):
        await client.set("little", "x")

        with pytest.raises(OutOfMemoryError):
            await client.set("too much", bytes(8 << 20))
        assert await client.get("little") == b"x"


def test_it_ends_with_a_process_that_is_killed():
    program = (
        "import asyncio\n"
        "from penstock.scheduler.store.embedded import EmbeddedStore\n"
        "async def main():\n"
        "    async with EmbeddedStore() as store:\n"
        "        print(store.pid, flush=True)\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as owner:
        pid = int(owner.stdout.readline())
        server = psutil.Process(pid)
        owner.kill()

    psutil.wait_procs([server], timeout=10)

    assert not server.is_running() or server.status() == psutil.STATUS_ZOMBIE


def test_what_a_killed_run_left_is_removed_by_the_next(tmp_path):
    left, mine = tmp_path / "store-left", tmp_path / "store-of-somebody"
    for folder in (left, mine):
        folder.mkdir()
    (left / "lock").touch()
    for folder in (left, mine):
        os.utime(folder, (0, 0))
    with private_directories.temporary_directory(tmp_path, "store-") as used:
        os.utime(used.path, (0, 0))

        with private_directories.temporary_directory(tmp_path, "store-"):
            assert not left.exists()
            assert used.path.exists()
            assert mine.exists(), "it only has a name like ours"
