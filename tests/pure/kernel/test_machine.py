"""GPUs are those that CUDA shows to this process, with CUDA's numbers."""

import os

import pytest

from penstock.process.machine import (
    Gpu,
    cores,
    gpu_bytes,
    has_room,
    memory_bytes,
    visible_gpus,
)

GIB = 1 << 30
TOLD = """\
0, GPU-aaaa, NVIDIA A10, 23028 MiB
1, GPU-bbbb, NVIDIA H100 80GB HBM3, 81559 MiB
2, GPU-cccc, NVIDIA L4, 1024 MiB
"""
A10 = ("NVIDIA A10", 23028 << 20, "GPU-aaaa")
H100 = ("NVIDIA H100 80GB HBM3", 81559 << 20, "GPU-bbbb")
L4 = ("NVIDIA L4", GIB, "GPU-cccc")
DIVIDED = """\
GPU 0: NVIDIA A10 (UUID: GPU-aaaa)
GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-bbbb)
  MIG 3g.40gb     Device  0: (UUID: MIG-1111)
  MIG 1g.10gb+me  Device  1: (UUID: MIG-2222)
  MIG 1c.2g.20gb  Device  2: (UUID: MIG-GPU-bbbb/5/0)
GPU 2: NVIDIA L4 (UUID: GPU-cccc)
"""
PARTS = [
    ("NVIDIA H100 80GB HBM3 MIG 3g.40gb", int(40 * GIB * 0.95), "MIG-1111"),
    ("NVIDIA H100 80GB HBM3 MIG 1g.10gb+me", int(10 * GIB * 0.95), "MIG-2222"),
    ("NVIDIA H100 80GB HBM3 MIG 1c.2g.20gb", int(20 * GIB * 0.95), "MIG-GPU-bbbb/5/0"),
]


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, [A10, H100, L4]),
        ("0,1,2", [A10, H100, L4]),
        ("2", [L4]),
        ("2, 0", [L4, A10]),
        ("GPU-bbbb", [H100]),
        ("GPU-b", [H100]),
        ("GPU-", []),
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
    found = visible_gpus(f"0, GPU-dddd, NVIDIA GB10, {memory}\n", None)

    assert found == [Gpu(0, "NVIDIA GB10", 0, "GPU-dddd")]


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, [A10, *PARTS, L4]),
        ("1", PARTS),
        ("2,GPU-bbbb", [L4, *PARTS]),
        ("MIG-2222", [PARTS[1]]),
        ("MIG-GPU-bbbb/5/0,0", [PARTS[2], A10]),
        ("MIG-1111,MIG-3333,0", [PARTS[0]]),
    ],
)
def test_the_parts_of_a_divided_gpu_are_devices(visible, expected):
    assert visible_gpus(TOLD, visible, DIVIDED) == [
        Gpu(number, *facts) for number, facts in enumerate(expected)
    ]


@pytest.mark.parametrize(
    ("listing", "expected"),
    [
        ("7, 100\n70, 1\n", 100 << 20),
        ("7, 100\n 7, 20\n", 120 << 20),
        ("8, 100\n", None),
        ("7, [N/A]\n", None),
        ("", None),
    ],
)
def test_a_process_knows_what_it_holds_of_gpus(listing, expected):
    assert gpu_bytes(listing, 7) == expected


def test_this_machine_has_cores_and_memory():
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")

    assert 1 <= cores() <= (os.cpu_count() or 1)
    assert 0 < memory_bytes() <= total


@pytest.fixture
def groups(tmp_path):
    """A file system with control groups: what each file holds, by its path."""

    def make(**files):
        for path, text in files.pop("files", files).items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text)
        return tmp_path

    return make


@pytest.mark.parametrize("smallest", ["pod/container", "pod", "."])
def test_the_smallest_limit_of_all_groups_around_the_process_counts(groups, smallest):
    limits = {f"sys/fs/cgroup/{group}/memory.max": "max" for group in ("pod/container", "pod", ".")}
    limits[f"sys/fs/cgroup/{smallest}/memory.max"] = "300000000\n"
    root = groups(files={"proc/self/cgroup": "0::/pod/container\n", **limits})

    assert memory_bytes(root) == 300_000_000


def test_the_older_control_groups_count_as_well(groups):
    root = groups(
        files={
            "proc/self/cgroup": "5:cpu,cpuacct:/a\n4:memory:/a/b\n0::/\n",
            "sys/fs/cgroup/memory/a/b/memory.limit_in_bytes": "9223372036854771712",
            "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "200000000",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
        }
    )

    assert memory_bytes(root) == 200_000_000


@pytest.mark.parametrize("told", ["0::/../outside\n", "0::/\n", "0::/not/mounted/here\n"])
def test_a_container_that_sees_only_its_own_group_finds_its_limit(groups, told):
    root = groups(files={"proc/self/cgroup": told, "sys/fs/cgroup/memory.max": "100000000"})

    assert memory_bytes(root) == 100_000_000


def test_without_a_limit_the_memory_is_the_machines(groups):
    machines = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")

    assert memory_bytes(groups(files={"proc/self/cgroup": "0::/a\n"})) == machines


@pytest.fixture
def _sixteen_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)


@pytest.mark.usefixtures("_sixteen_cores")
@pytest.mark.parametrize(
    ("quota", "expected"),
    [
        ("max 100000", 16),
        ("100000 100000", 1),
        ("50000 100000", 1),
        ("150000 100000", 2),
        ("400000 100000\n", 4),
        ("9900000 100000", 16),
        ("nonsense", 16),
    ],
)
def test_a_quota_of_processor_time_counts(groups, quota, expected):
    around = {"sys/fs/cgroup/pod/cpu.max": "1200000 100000", "sys/fs/cgroup/pod/c/cpu.max": quota}
    root = groups(files={"proc/self/cgroup": "0::/pod/c\n", **around})

    assert cores(root) == min(expected, 12)


@pytest.mark.usefixtures("_sixteen_cores")
@pytest.mark.parametrize(("quota_us", "expected"), [("-1", 16), ("0", 16), ("250000", 3)])
def test_a_quota_of_the_older_control_groups_counts_as_well(groups, quota_us, expected):
    root = groups(
        files={
            "proc/self/cgroup": "5:cpu,cpuacct:/a/b\n4:memory:/x\n0::/\n",
            "sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": quota_us,
            "sys/fs/cgroup/cpu/a/cpu.cfs_period_us": "100000",
        }
    )

    assert cores(root) == expected


def test_fewer_cores_than_the_quota_are_what_there_is(groups, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3}, raising=False)
    root = groups(files={"sys/fs/cgroup/cpu.max": "400000 100000"})

    assert cores(root) == 1


PAGES = 1000
OWN = PAGES * os.sysconf("SC_PAGE_SIZE")
STATM = {"proc/self/statm": f"5000 {PAGES} 9 1 0 9 0\n"}


def meminfo(free):
    return {"proc/meminfo": f"MemTotal: 9999999 kB\nMemAvailable: {free >> 10} kB\n"}


def group(free, cached=0):
    """The files of a control group of which so much is free, if it gives back its caches."""
    return {
        "sys/fs/cgroup/memory.max": f"{100 * OWN}\n",
        "sys/fs/cgroup/memory.current": f"{100 * OWN - free + cached}\n",
        "sys/fs/cgroup/memory.stat": f"anon 1\ninactive_file {cached}\n",
    }


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (meminfo(3 * OWN), True),
        (meminfo(OWN), False),
        (meminfo(90 * OWN) | group(OWN), False),
        (meminfo(90 * OWN) | group(3 * OWN), True),
        (meminfo(90 * OWN) | group(3 * OWN, cached=50 * OWN), True),
        (meminfo(90 * OWN) | {"sys/fs/cgroup/memory.max": "max"}, True),
        ({}, True),
    ],
)
def test_there_is_room_while_a_process_could_become_as_large_again_twice(groups, files, expected):
    assert has_room(groups(files=STATM | files)) is expected


def test_where_nothing_is_told_of_memory_there_is_room(groups):
    assert has_room(groups(files={"proc/meminfo": "nonsense"}))
