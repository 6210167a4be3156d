"""A worker sees its own GPU and no other."""

import pytest

from penstock.process.machine import Gpu
from penstock.workers.node.devices import devices_of_machine, variables_for

GPUS = [Gpu(0, "A10", 5, "GPU-aaaa"), Gpu(1, "H100 MIG 1g.10gb", 7, "MIG-1111")]


@pytest.mark.parametrize(
    ("device", "seen"), [("cuda:0", "GPU-aaaa"), ("cuda:1", "MIG-1111"), ("cpu:0", "")]
)
def test_its_environment_shows_it_that_device_alone(device, seen):
    assert variables_for(device, GPUS) == {"CUDA_VISIBLE_DEVICES": seen}


def test_without_gpus_its_environment_is_the_nodes():
    assert variables_for("cpu:0", []) == {}


def test_each_gpu_is_a_device_of_the_node():
    cpu, *cuda = devices_of_machine(3, GPUS)

    assert (cpu.kind, cpu.memory_bytes) == ("cpu", 3 << 20)
    assert [(d.kind, d.index, d.memory_bytes, d.name) for d in cuda] == [
        ("cuda", 0, 5, "A10"),
        ("cuda", 1, 7, "H100 MIG 1g.10gb"),
    ]
