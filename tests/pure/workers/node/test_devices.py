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


@pytest.mark.parametrize(("allowed_mib", "expected"), [(None, 0), (3, 3 << 20)])
def test_of_a_gpu_that_does_not_tell_its_memory_as_much_as_allowed_is_used(allowed_mib, expected):
    _, gpu = devices_of_machine(1, [Gpu(0, "GB10", 0, "GPU-dddd")], allowed_mib)

    assert gpu.memory_bytes == expected


def test_no_more_than_allowed_of_each_gpu_is_used_and_no_more_than_there_is():
    gpus = [Gpu(0, "A10", 24 << 30, "GPU-aaaa"), Gpu(1, "MIG 1g.5gb", 5 << 30, "MIG-1111")]

    _, whole, part = devices_of_machine(1, gpus, 8192)

    assert (whole.memory_bytes, part.memory_bytes) == (8 << 30, 5 << 30)


def test_each_gpu_is_a_device_of_the_node():
    cpu, *cuda = devices_of_machine(3, GPUS)

    assert (cpu.kind, cpu.memory_bytes) == ("cpu", 3 << 20)
    assert [(d.kind, d.index, d.memory_bytes, d.name) for d in cuda] == [
        ("cuda", 0, 5, "A10"),
        ("cuda", 1, 7, "H100 MIG 1g.10gb"),
    ]
