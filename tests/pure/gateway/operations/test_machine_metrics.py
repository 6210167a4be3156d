"""Metrics of who runs: processes, devices, workers and their work."""

from dataclasses import replace

from support.metrics import samples
from support.records import MIB, cuda, node, placement, snapshot, stage, version, worker

from penstock.gateway.operations.machine_metrics import Machines
from penstock.gateway.operations.metrics import Facts, GatewayFacts, render
from penstock.scheduler.observe.work_done import WorkDone

GATEWAY = GatewayFacts("host/1", 0, 0, 0, redis_up=True)


def told_by(registry, done=None):
    return samples(render(Facts(GATEWAY, machines=Machines(registry, done or {}))).decode())


def key(name, /, **labels):
    return name, tuple(sorted(labels.items()))


def test_processes_are_counted_by_role_state_and_release():
    nodes = [node("a"), node("b"), node("c", draining=True)]
    nodes[1].software = "2.0"
    told = told_by(snapshot(nodes=nodes))

    def count(state, software):
        return told[key("penstock_processes", role="node", state=state, software=software)]

    assert (count("ready", ""), count("ready", "2.0"), count("draining", "")) == (1, 1, 1)


def test_devices_have_memory_and_what_workers_hold_of_it():
    held = worker(placement(device="cuda:0"))
    held.memory_bytes = 3 * MIB
    told = told_by(snapshot(nodes=[node("n", cuda(100), cuda(200, 1))], workers=[held]))

    of = {"node": "n", "device": "cuda:0"}
    assert told[key("penstock_device_memory_bytes", name="", **of)] == 100 * MIB
    assert told[key("penstock_device_held_bytes", **of)] == 3 * MIB
    assert told[key("penstock_device_held_bytes", node="n", device="cuda:1")] == 0


def test_what_was_measured_is_believed_rather_than_the_parameters_alone():
    held = worker(placement(device="cuda:0"))
    held.memory_bytes = 3 * MIB
    registry = snapshot([version(stage())], nodes=[node("n", cuda())], workers=[held])
    registry = replace(registry, footprints={"m/1/0/f@cuda": 5 * MIB})

    told = told_by(registry)

    assert told[key("penstock_device_held_bytes", node="n", device="cuda:0")] == 5 * MIB


def test_each_stage_says_how_many_workers_it_shall_have():
    told = told_by(snapshot([version(stage(), stage(), replicas=3)]))

    for number in ("0", "1"):
        labels = {"model": "m", "version": "1", "stage": number}
        assert told[key("penstock_workers_wanted", **labels)] == 3


def test_workers_tell_how_busy_they_are_and_how_often_they_began():
    first, rests = worker(placement()), worker(placement(replica=1))
    first.restarts = 2
    told = told_by(
        snapshot(nodes=[node("n")], workers=[first, rests]), {first.id: WorkDone(1.5, 3, 12)}
    )

    def of(one):
        stage = {"model": "m", "version": "1", "stage": "0"}
        return stage | {"node": "n", "device": "cpu:0", "worker": one.id}

    assert told[key("penstock_worker_busy_seconds_total", **of(first))] == 1.5
    assert told[key("penstock_worker_batches_total", **of(first))] == 3
    assert told[key("penstock_worker_rows_total", **of(first))] == 12
    assert told[key("penstock_worker_restarts_total", **of(first))] == 2
    assert key("penstock_worker_busy_seconds_total", **of(rests)) not in told
    assert told[key("penstock_worker_restarts_total", **of(rests))] == 0
