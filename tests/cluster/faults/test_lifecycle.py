"""How a cluster begins, and how it ends."""

import os
import signal
import socket

import psutil
import pytest
from support.clients.load import Load, eventually
from support.processes.cluster import Cluster
from support.processes.forks import ended


async def test_the_end_answers_what_was_accepted(cluster, onnx_digits):
    running = cluster(onnx_digits)
    async with Load(running.url, pause_s=0.5) as load:
        running.process.send_signal(signal.SIGINT)
        await eventually(lambda: running.process.poll() is not None)

    assert running.process.returncode == 0
    assert {error.partition(":")[0] for error in load.answers.errors} <= {"UNAVAILABLE"}
    assert load.answers.wrong == 0
    assert "failed" not in running.output()


async def test_a_second_interrupt_ends_it_at_once(tmp_path, onnx_digits):
    running = Cluster(tmp_path / "cluster", onnx_digits).start()
    family = psutil.Process(running.pid).children(recursive=True)
    # A worker that does not answer would hold up the end in order.
    os.kill(running.processes()["worker"][0], signal.SIGSTOP)
    running.process.send_signal(signal.SIGINT)
    await eventually(lambda: "Stopping" in running.output())
    running.process.send_signal(signal.SIGINT)

    await eventually(lambda: running.process.poll() is not None)

    assert running.process.returncode == 130
    assert await eventually(lambda: not any(process.is_running() for process in family))


def test_nothing_outlives_a_cluster_that_is_killed(tmp_path, onnx_digits):
    running = Cluster(tmp_path / "cluster", onnx_digits).start()
    family = psutil.Process(running.pid).children(recursive=True)

    running.process.kill()
    running.process.wait()

    gone, left = psutil.wait_procs(family, timeout=30)
    assert left == []
    assert len(gone) >= 7


def test_a_busy_port_is_told_and_everything_ends(onnx_digits):
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]

        status, told = ended("up", "--models", str(onnx_digits), "--port", str(port))

    assert status == 1
    assert f"127.0.0.1:{port}" in told
    assert "--port" in told
    assert "add_port" not in told, "gRPC's own line is no help"


def test_an_unreachable_redis_is_told(onnx_digits):
    url = "redis://127.0.0.1:1"

    status, told = ended("up", "--models", str(onnx_digits), "--redis", url, "--port", "0")

    assert status == 1
    assert "cannot be reached" in told
    assert "--redis" in told


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("up", "--models", "no/such/place"), "there is no model repository at no/such/place"),
        (("gateway",), "--redis (PENSTOCK_REDIS): is required"),
        (("gateway", "--redis", "http://x"), "also understood: redis+sentinel://"),
        (("gateway", "--redis", "redis://x", "--port", "99999"), "--port (PENSTOCK_PORT)"),
    ],
    ids=["models", "missing", "scheme", "port"],
)
def test_a_mistake_is_one_line_that_says_what_to_do(words, told):
    status, text = ended(*words)

    assert status != 0
    assert told in " ".join(text.split())
    assert "Traceback" not in text
