"""What a role meets in a container: it is process 1, names change behind its back, clocks jump."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from support.clients.load import Load, eventually
from support.processes.groups import asked, free_ports
from support.processes.roles import all_ready, starting
from support.processes.stores import valkey
from support.waiting import until

ALONE = ("unshare", "--pid", "--mount-proc", "--fork", "--kill-child")
"""Runs a command as process 1 of its own."""

STOPS_TO_IMPORT = """
import sys, time
class Stopping:
    def find_spec(self, name, *_):
        if name == "penstock.cli.app":
            print("importing", flush=True)
            time.sleep(60)
sys.meta_path.insert(0, Stopping())
from penstock.__main__ import main
main()
"""
FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
YEAR_S = 365 * 24 * 3600


def unshares(*options):
    done = subprocess.run(["unshare", *options, "true"], check=False, capture_output=True)
    return done.returncode == 0


needs_namespaces = pytest.mark.skipif(
    not unshares("--pid", "--mount", "--fork"), reason="this user may not unshare"
)


@needs_namespaces
def test_the_first_process_ends_when_told_to_though_it_has_not_begun():
    """The kernel keeps from process 1 whatever it does not handle."""
    with subprocess.Popen(
        [*ALONE, sys.executable, "-c", STOPS_TO_IMPORT, "gateway"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    ) as apart:
        try:
            assert apart.stdout.readline() == b"importing\n"
            (first,) = psutil.Process(apart.pid).children()
            first.terminate()

            assert apart.wait(20) == 128 + signal.SIGTERM
        finally:
            apart.kill()


def seeing_as_hosts(path):
    """What runs a command to which *path* is the file with the names of hosts."""
    mounted = f'mount --bind {path} /etc/hosts && exec "$@"'
    return ("unshare", "--mount", "--fork", "--kill-child", "sh", "-c", mounted, "sh")


@needs_namespaces
async def test_a_store_that_moves_to_another_address_of_its_name_is_found(tmp_path, onnx_digits):
    """As a Service's does in Kubernetes: the one before still runs, and only reads."""
    (port,) = free_ports(1)
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.2 store.example\n")
    within = seeing_as_hosts(hosts)
    at = ("--port", str(port), "--protected-mode", "no", "--bind")
    with (
        valkey(*at, "127.0.0.2") as before,
        valkey(*at, "127.0.0.3") as after,
        starting(tmp_path, f"redis://store.example:{port}") as role,
    ):
        role("scheduler", "--models", str(onnx_digits), within=within)
        role("node", "--models", str(onnx_digits), within=within)
        url = await role("gateway", "--port", "0", within=within).up()
        await eventually(lambda: all_ready(url))
        async with Load(url) as load:
            after.command(f"REPLICAOF 127.0.0.2 {port}")
            await until(lambda: asked(after).info("replication").get("master_link_status") == "up")
            after.command("REPLICAOF NO ONE")
            hosts.write_text("127.0.0.3 store.example\n")
            before.command(f"REPLICAOF 127.0.0.3 {port}")
            await load.more(200)
            before.kill()
            await load.more(200)

    assert load.answers.failed == 0, load.answers.errors
    assert load.answers.wrong == 0


async def test_clocks_that_jump_stop_nothing(tmp_path, redis_url, onnx_digits):
    """As they do when a machine has found out the time, some seconds after its start."""
    if FAKETIME is None:
        missing = "libfaketime is missing: install it (Debian: apt-get install libfaketime)"
        pytest.fail(missing) if os.environ.get("CI") == "true" else pytest.skip(missing)
    clock = tmp_path / "clock"
    clock.write_text("+0")
    environment = {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    shutil.rmtree(onnx_digits / "digits" / "1")  # which nobody asks for
    with starting(tmp_path, redis_url) as role:
        models = ("--models", str(onnx_digits))
        role("scheduler", *models, environment=environment)
        node = role("node", *models, environment=environment)
        gateway = role("gateway", "--port", "0", environment=environment)
        url = await gateway.up()
        await eventually(lambda: all_ready(url))
        async with Load(url) as load:
            for jump_s in (YEAR_S, -YEAR_S):
                clock.write_text(f"{jump_s:+d}")
                await load.more(100)

    assert load.answers.failed == 0, load.answers.errors
    assert load.answers.wrong == 0
    assert "died" not in node.log.read_text()
