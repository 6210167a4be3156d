"""GPUs are those that CUDA shows to this process, with CUDA's numbers."""

import os

import pytest

from penstock.machine import Gpu, cores, memory_bytes, visible_gpus

GIB = 1 << 30
TOLD = """\
0, GPU-aaaa, NVIDIA A10, 23028 MiB
1, GPU-bbbb, NVIDIA H100 80GB HBM3, 81559 MiB
2, GPU-cccc, NVIDIA L4, 1024 MiB
"""
A10 = ("NVIDIA A10", 23028 << 20)
H100 = ("NVIDIA H100 80GB HBM3", 81559 << 20)
L4 = ("NVIDIA L4", GIB)


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, [A10, H100, L4]),
        ("0,1,2", [A10, H100, L4]),
        ("2", [L4]),
        ("2, 0", [L4, A10]),
        ("GPU-bbbb", [H100]),
        ("GPU-cccc,0", [L4, A10]),
        ("", []),
        ("-1", []),
        ("0,-1,1", [A10]),
        ("1,7,0", [H100]),
        ("MIG-1234", []),
    ],
)
def test_gpus_are_numbered_as_they_are_made_visible(visible, expected):
    assert visible_gpus(TOLD, visible) == [
        Gpu(number, *facts) for number, facts in enumerate(expected)
    ]


@pytest.mark.parametrize("told", ["", "\n", "No devices were found\n", "a, b\n"])
def test_what_is_no_gpu_is_none(told):
    assert visible_gpus(told, None) == []


@pytest.mark.parametrize("memory", ["[N/A]", "[Not Supported]", ""])
def test_a_gpu_that_shares_the_machine_s_memory_has_none_of_its_own(memory):
    assert visible_gpus(f"0, GPU-dddd, NVIDIA GB10, {memory}\n", None) == [Gpu(0, "NVIDIA GB10", 0)]


def test_this_machine_has_cores_and_memory():
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")

    assert 1 <= cores() <= (os.cpu_count() or 1)
    assert 0 < memory_bytes() <= total
