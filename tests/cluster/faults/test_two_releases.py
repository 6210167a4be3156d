"""Processes of two releases on the same keys, under load.

The other release is a copy of this tree with a higher schema and scripts that write more, or a
revision of the past (PENSTOCK_TEST_REVISION).
"""

import io
import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from support.clients.load import Load, eventually
from support.processes.roles import all_ready, nodes_that_work, starting

from penstock.scheduler.store.keys import RegistryKeys
from penstock.scheduler.store.keyspace import SCHEMA
from penstock.scheduler.store.link import Links

ROOT = Path(__file__).parents[3]
PACKAGES = ("src", "gateway", "scheduler", "workers", "protos")

# What a later release might keep beside: one more field of jobs, and of statistics.
EDITS = {
    "scheduler/store/keyspace.py": (
        r"^SCHEMA = (\d+)$",
        lambda found: f"SCHEMA = {int(found[1]) + 1}",
    ),
    "scheduler/lua/enqueue.lua": (
        r"\{'state', 'waiting', ",
        lambda found: found[0] + "'release', 'other', ",
    ),
    "scheduler/lua/claim.lua": (
        r"'state', 'leased', ",
        lambda found: found[0] + "'release', 'other', ",
    ),
    "scheduler/lua/settle.lua": (
        r"^local answer.*$",
        lambda found: found[0] + "\nredis.call('HINCRBY', STATS .. version, 'other_release', 1)",
    ),
}


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """The tree of the other release."""
    tree = tmp_path_factory.mktemp("other-release")
    revision = os.environ.get("PENSTOCK_TEST_REVISION")
    if revision:
        archive = subprocess.run(
            ["git", "-C", str(ROOT), "archive", revision], capture_output=True, check=True
        )
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
            files.extractall(tree, filter="data")
        return tree
    for name in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / name, tree / name, symlinks=True, ignore=ignored)
    for name, (pattern, edited) in EDITS.items():
        text, count = re.subn(pattern, edited, (tree / name).read_text(), flags=re.MULTILINE)
        assert count == 1, f"{name} has changed: this test's edit does not fit any more"
        (tree / name).write_text(text)
    return tree


@pytest.fixture
def role(tmp_path, redis_server):
    """Starts roles: ``role("node", "--node", "a", tree=other)``; all are gone at the end."""
    with starting(tmp_path, redis_server) as start_role:

        def start(name, *options, tree=None):
            environment = {"PYTHONPATH": str(tree / "src")} if tree else {}
            return start_role(name, *options, environment=environment)

        yield start


async def schemas(url):
    async with Links(url) as links:
        found = await links.to(RegistryKeys.tag).command("ZRANGE", RegistryKeys.schemas, 0, -1)
    return [int(schema) for schema in found]


async def test_one_release_replaces_the_other_under_load(role, other, onnx_digits, redis_server):
    models = ("--models", str(onnx_digits))
    olds = [role("scheduler", *models), role("node", *models, "--node", "this")]
    gateways = [role("gateway", "--port", "0"), role("gateway", "--port", "0", tree=other)]
    urls = [await gateway.up() for gateway in gateways]
    news = [role("node", *models, "--node", "other", tree=other)]
    await eventually(lambda: all_ready(urls[0]))

    async with Load(urls[0]) as load, Load(urls[1]) as others:
        # Both sorts of gateways and of workers, on the same queues.
        await load.more(150)
        await others.more(150)
        news.append(role("scheduler", *models, tree=other))
        await news[-1].up()
        for one in olds:
            assert await one.stop() == 0, one.log.read_text()
        await eventually(lambda: all_ready(urls[1]))
        await load.more(150)
        await others.more(150)
        # And back: the release that was replaced may still join.
        again = [role("scheduler", *models), role("node", *models, "--node", "again")]
        await again[1].up()
        for one in news:
            assert await one.stop() == 0, one.log.read_text()
        await eventually(lambda: all_ready(urls[0]))
        await load.more(150)
        await others.more(150)

    assert load.answers.failed == others.answers.failed == 0, load.answers.errors
    assert load.answers.wrong == others.answers.wrong == 0
    assert await nodes_that_work(urls[0]) == {"again"}
    if "PENSTOCK_TEST_REVISION" not in os.environ:
        assert sorted(await schemas(redis_server)) == [SCHEMA, SCHEMA + 1]


async def test_a_release_that_is_too_far_away_does_not_begin(role, redis_server):
    """It says which release to use, and ends."""
    gateway = role("gateway", "--port", "0")
    await gateway.up()
    async with Links(redis_server) as links:
        command = links.to(RegistryKeys.tag).command
        time_s, _ = await command("TIME")
        await command("ZADD", RegistryKeys.schemas, (int(time_s) + 60) * 1000, SCHEMA + 2)

    late = role("node", "--models", ".")
    status = late.process.wait(60)

    assert status == 1
    told = " ".join(late.log.read_text().split())
    assert f"processes of schema {SCHEMA + 2} run here" in told
    assert f"replace them with a release of schema {SCHEMA + 1}" in told
    assert gateway.process.poll() is None
