"""A node's supervisors and worker set, with small programs in the place of workers."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import psutil
import pytest
from support.clients.load import eventually

from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.registry.snapshot import worker_id
from penstock.workers.liveness.exits import CANNOT_LOAD, reason_of
from penstock.workers.node.start_limit import StartLimit
from penstock.workers.node.supervisor import MOST_UNREADY, Pause, Starts, WorkerSupervisor
from penstock.workers.node.worker_set import WorkerSet

SLEEPS = "import time; time.sleep(60)"
BEATS = """
import os, time
while True:
    os.write(int(os.environ["PENSTOCK_HEARTBEAT_FD"]), b".")
    time.sleep(0.05)
"""
FALLS_SILENT = """
import os, time
os.write(int(os.environ["PENSTOCK_HEARTBEAT_FD"]), b".")
time.sleep(60)
"""
STARTS_WHEN_TOLD = """
import os, pathlib, sys, time
while not pathlib.Path(sys.argv[1]).exists():
    time.sleep(0.01)
os.write(int(os.environ["PENSTOCK_HEARTBEAT_FD"]), b"!")
time.sleep(60)
"""
IGNORES = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"


class RecordingPort:
    """Writes down what supervisors tell the cluster."""

    def __init__(self, reason="", state=pb.WORKER_STATE_LOADING):
        self.told = []
        self.released = []
        self.reason = reason
        self._state = state

    async def announce(self, record):
        copy = pb.Worker()
        copy.CopyFrom(record)
        self.told.append(copy)

    async def recorded(self, id_):
        life = self.told[-1].boot_id
        return pb.Worker(id=id_, reason=self.reason, state=self._state, boot_id=life)

    async def release_leases_of(self, model, boot_id):
        self.released.append((model, boot_id))

    def states(self):
        names = (pb.WorkerState.Name(record.state) for record in self.told)
        return [name.removeprefix("WORKER_STATE_") for name in names]

    @property
    def pid(self):
        """Of the process that was started last."""
        return next((record.pid for record in reversed(self.told) if record.pid), 0)


def placement(stage=0, fingerprint="f"):
    return pb.Placement(
        model="m", version=1, stage=stage, node="n", device="cpu:0", fingerprint=fingerprint
    )


def runs(program):
    return lambda *_: [sys.executable, "-c", program]


@pytest.fixture
async def keep():
    """Runs a supervisor in the background: ``keep(program, port)``; it is stopped at the end."""
    stops, tasks = [], []

    def start(program, port, **options):
        stop, command = asyncio.Event(), runs(program) if isinstance(program, str) else program
        supervisor = WorkerSupervisor(placement(), command, port, **options)
        task = asyncio.create_task(supervisor.run(stop))
        stops.append(stop)
        tasks.append(task)
        return stop, task

    yield start
    for stop in stops:
        stop.set()
    await asyncio.gather(*tasks)


async def test_a_worker_that_is_killed_gives_up_its_jobs_and_is_started_again(keep):
    port = RecordingPort()
    keep(SLEEPS, port)
    await eventually(lambda: port.pid)
    first = port.told[0]
    _kill(first.pid)

    await eventually(lambda: port.pid != first.pid)

    assert port.released == [("m", first.boot_id)]
    assert "RESTARTING" in port.states()
    assert "SIGKILL" in next(record.reason for record in port.told if record.reason)
    assert port.told[-1].restarts == 1
    assert port.told[-1].boot_id != first.boot_id


async def test_a_worker_that_falls_silent_is_started_again(keep):
    port, other = RecordingPort(), RecordingPort()
    keep(FALLS_SILENT, port, silence_s=0.5)
    keep(BEATS, other, silence_s=0.5)
    await eventually(lambda: port.pid and other.pid)
    first, lives = port.told[0], other.pid

    await eventually(lambda: port.pid != first.pid)

    assert port.released == [("m", first.boot_id)]
    assert "--worker-silence-s" in next(record.reason for record in port.told if record.reason)
    assert not _runs(first.pid)
    assert other.pid == lives
    assert other.released == []


async def test_a_shard_that_cannot_be_loaded_keeps_its_reason(keep):
    port = RecordingPort(reason="model.onnx is damaged")
    keep(f"raise SystemExit({CANNOT_LOAD})", port)

    await eventually(lambda: port.states().count("FAILED") >= 2)

    assert port.told[-1].reason == "model.onnx is damaged"
    assert port.states().count("LOADING") == 1


async def test_a_reason_that_stays_is_said_once(keep, capsys):
    """What is broken for good filled the log with errors, every other minute."""
    port = RecordingPort(reason="model.onnx is damaged")
    keep(f"raise SystemExit({CANNOT_LOAD})", port, pause=Pause(load_s=0.05))
    await eventually(lambda: port.states().count("LOADING") >= 4)
    port.reason = "model.onnx is cut off"
    await eventually(lambda: port.told[-1].reason == port.reason)

    written = capsys.readouterr().out
    assert written.count("model.onnx is damaged") == 1
    assert written.count("model.onnx is cut off") == 1
    assert written.count("still cannot load its shard") >= 2


def test_what_cannot_be_loaded_is_tried_ever_more_rarely():
    pause = Pause()
    pauses_s = [pause.after(CANNOT_LOAD, 1.0) for _ in range(12)]

    assert pauses_s[:3] == [5, 10, 20]
    assert pauses_s[-1] == 300


async def test_a_worker_that_could_not_load_its_shard_says_so_in_its_next_life(keep):
    port, lives = RecordingPort(reason="model.onnx is damaged"), []

    def command(record, _):
        lives.append(record.load_error)
        return [sys.executable, "-c", f"raise SystemExit({CANNOT_LOAD})"]

    keep(command, port, pause=Pause(0.01, 0.01))
    await eventually(lambda: len(lives) >= 3)

    assert lives[:3] == ["", "model.onnx is damaged", "model.onnx is damaged"]
    assert all(record.load_error for record in port.told if record.restarts)


async def test_a_worker_that_ends_again_and_again_before_it_is_ready_is_not_counted_on(keep):
    port = RecordingPort()
    keep("raise SystemExit(9)", port, pause=Pause(0.01, 0.01))

    await eventually(lambda: port.told and port.told[-1].load_error)

    doubted = next(record for record in port.told if record.load_error)
    assert doubted.restarts == MOST_UNREADY - 1
    assert "status 9" in doubted.load_error


async def test_a_worker_that_was_ready_is_counted_on_however_often_it_ends(keep):
    port = RecordingPort(state=pb.WORKER_STATE_READY)
    keep("raise SystemExit(9)", port, pause=Pause(0.01, 0.01))

    await eventually(lambda: port.told and port.told[-1].restarts > MOST_UNREADY)

    assert not any(record.load_error for record in port.told)


async def test_a_stopped_worker_is_told_to_end_and_not_started_again(keep):
    port = RecordingPort()
    stop, task = keep(SLEEPS, port)
    await eventually(lambda: port.pid)
    stop.set()

    await asyncio.wait_for(task, 10)

    assert port.released == []
    assert port.states() == ["LOADING"]


async def test_a_worker_that_ignores_the_end_is_killed(keep):
    port = RecordingPort()
    stop, task = keep(IGNORES, port, stop_s=0.5)
    await eventually(lambda: port.pid and _ignores_the_end(port.pid))
    stop.set()

    await asyncio.wait_for(task, 10)

    assert not _runs(port.pid)


async def test_a_crew_follows_its_placements():
    port = RecordingPort()
    workers = WorkerSet(lambda placed: WorkerSupervisor(placed, runs(SLEEPS), port))
    workers.follow([placement(0), placement(1)])
    await eventually(lambda: len(port.told) == 2)
    before = {record.id: record.pid for record in port.told}

    workers.follow([placement(1), placement(2, "new")])
    await eventually(lambda: len(workers) == 2 and len(port.told) == 3)

    running = {record.id for record in port.told if _runs(record.pid)}
    assert running == {worker_id(placement(1)), worker_id(placement(2))}
    assert not _runs(before[worker_id(placement(0))])
    await workers.stop()
    assert not any(_runs(record.pid) for record in port.told)


async def test_a_changed_placement_ends_the_old_worker_before_the_new_one_starts():
    port = RecordingPort()
    workers = WorkerSet(lambda placed: WorkerSupervisor(placed, runs(SLEEPS), port))
    workers.follow([placement(fingerprint="old")])
    await eventually(lambda: port.pid)
    old = port.pid

    workers.follow([placement(fingerprint="new")])
    await eventually(lambda: port.told[-1].fingerprint == "new")

    assert not _runs(old)
    assert len(workers) == 1
    await workers.stop()


async def test_workers_start_so_many_at_a_time(tmp_path):
    """One that has started, or has ended, lets the next one start."""
    ports, starts = [RecordingPort() for _ in range(4)], Starts(StartLimit(1))

    def supervisor_of(placed):
        program = STARTS_WHEN_TOLD if placed.stage != 1 else "raise SystemExit(3)"
        words = [sys.executable, "-c", program, str(tmp_path / str(placed.stage))]
        return WorkerSupervisor(placed, lambda *_: words, ports[placed.stage], starts)

    workers = WorkerSet(supervisor_of)
    workers.follow([placement(stage) for stage in range(4)])
    await eventually(lambda: ports[0].told)
    assert [bool(port.told) for port in ports] == [True, False, False, False]

    (tmp_path / "0").touch()
    await eventually(lambda: ports[2].told)

    assert "FAILED" in ports[1].states() or ports[1].released
    assert not ports[3].told
    await workers.stop()


def test_an_exit_status_is_explained():
    assert "SIGKILL" in reason_of(-signal.SIGKILL)
    assert "memory" in reason_of(-signal.SIGKILL)
    assert "SIGSEGV" in reason_of(-signal.SIGSEGV)
    assert "status 9" in reason_of(9)
    assert "cannot be loaded" in reason_of(CANNOT_LOAD)


def _kill(pid):
    os.kill(pid, signal.SIGKILL)


def _runs(pid):
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def _ignores_the_end(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    mask = next(int(line.split()[1], 16) for line in lines if line.startswith("SigIgn"))
    return mask >> (signal.SIGTERM - 1) & 1
