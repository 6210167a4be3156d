"""Keys out of a snapshot, into another store, as docs/operations/backup.md tells."""

import re
import subprocess
from pathlib import Path

import pytest
from support.clients.keys import Keyring
from support.processes.stores import valkey

from penstock.scheduler.registry.registry import Registry
from penstock.scheduler.store.keys import RegistryKeys
from penstock.scheduler.store.link import Links

PAGE = Path(__file__).parents[3] / "docs/operations/backup.md"


def shell(line):
    subprocess.run(["bash", "-euo", "pipefail", "-c", line], check=True, timeout=60)


async def known(url):
    async with Links(url) as links:
        return dict((await Registry(links).snapshot()).access_keys)


@pytest.mark.usefixtures("_redis")  # redis-cli comes with it
async def test_the_page_brings_keys_into_another_store():
    with valkey() as old, valkey() as new, valkey("--appendonly", "no") as scratch:
        async with Links(old.url) as links:
            await Keyring(links).make("vision")
        before = await known(old.url)
        snapshot = scratch.directory / "dump.rdb"
        shell(f"redis-cli -s {old.socket} --rdb {snapshot}")
        scratch.kill()
        scratch.start()

        ((dump, restore),) = re.findall(
            r"redis-cli -p 7000 (DUMP .*\|)\n\s+redis-cli -u \S+ (.* 0)", PAGE.read_text()
        )
        assert RegistryKeys.access_keys in dump
        shell(f"redis-cli -s {scratch.socket} {dump} redis-cli -s {new.socket} {restore}")

        assert before
        assert await known(new.url) == before


def test_it_names_what_the_store_has():
    assert f"`{RegistryKeys.access_keys.removeprefix('penstock:')}`" in PAGE.read_text()
