"""What this machine has: cores, memory, GPUs, as far as this process may use them."""

import contextlib
import math
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from itertools import chain, takewhile
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

_MIB: Final = 1 << 20
_GIB: Final = 1 << 30
_OF_NOMINAL: Final = 0.95
"""A part of a GPU is named after more memory than it has."""

# "GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5c89...)", and below it each of its parts, as in
# "  MIG 3g.20gb     Device  0: (UUID: MIG-c7384736-...)".
_WHOLE: Final = re.compile(r"GPU \d+: (?P<name>.+) \(UUID: (?P<uuid>\S+)\)")
_PART: Final = re.compile(
    r"\s+MIG (?P<profile>\S*?(?P<gib>\d+)gb\S*)\s+Device\s+\d+: \(UUID: (?P<uuid>\S+)\)"
)
_ASK_S: Final = 30.0
_ROOT: Final = Path("/")
# Where a controller's limits may be: version 2, the hybrid that systemd offers, and version 1.
_VERSION_2: Final = ("sys/fs/cgroup", "sys/fs/cgroup/unified")
_VERSION_1: Final = "sys/fs/cgroup/{}"
_MEMORY_FILES: Final = {
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    2: ("memory.max", "memory.current", "inactive_file"),
}
"""What limits a group, what it has taken, and what it would give back of that, by version."""


class Gpu(NamedTuple):
    """A GPU that this process may use, or a part of one that MIG has cut off.

    Attributes:
        number: its place among those that `CUDA_VISIBLE_DEVICES` leaves, from 0 on.
        memory_bytes: 0 where the driver does not tell.
        uuid: what makes it the only one that a process sees, as the value of that variable.
    """

    number: int
    name: str
    memory_bytes: int
    uuid: str


def cores(root: Path = _ROOT) -> int:
    """Cores that this process may use: those that it is bound to, and no more than its quota.

    A part of a core counts as one: a quota of 1.5 is worth two threads.
    """
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min([bound or 1, *(math.ceil(quota) for quota in _quotas(root))]))


def memory_bytes(root: Path = _ROOT) -> int:
    """Bytes of memory that this process may use: the machine's, or its control group's.

    A group counts with all that it lies in: the smallest limit on the way up ends a process.
    """
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for version, group in _groups(root, "memory"):
        limit, *_ = _MEMORY_FILES[version]
        with contextlib.suppress(OSError, ValueError):  # "max", or another kind of system
            total = min(total, int((group / limit).read_text()))
    return total


def has_room(root: Path = _ROOT) -> bool:
    """Whether there is memory for this process to become as large again, and again.

    Where the system does not tell, there is.
    """
    try:
        pages = int((root / "proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return True
    return all(free > 2 * pages * os.sysconf("SC_PAGE_SIZE") for free in _free_bytes(root))


def _free_bytes(root: Path) -> Iterator[int]:
    """What the machine has left, and each control group that has a limit."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        yield _fields(root / "proc/meminfo")["MemAvailable:"] << 10
    for version, group in _groups(root, "memory"):
        limit, used, cached = _MEMORY_FILES[version]
        with contextlib.suppress(OSError, ValueError, KeyError):
            taken = int((group / used).read_text()) - _fields(group / "memory.stat")[cached]
            yield int((group / limit).read_text()) - taken


def _fields(file: Path) -> dict[str, int]:
    """The first number of each line, by the line's first word."""
    lines = (line.split() for line in file.read_text().splitlines())
    return {words[0]: int(words[1]) for words in lines}


def _quotas(root: Path) -> Iterator[float]:
    """How many cores' time the groups of this process may use, each that has a limit."""
    for version, group in _groups(root, "cpu"):
        with contextlib.suppress(OSError, ValueError):  # "max 100000", or another kind of system
            if version == 2:
                quota_us, period_us = map(int, (group / "cpu.max").read_text().split())
            else:
                quota_us = int((group / "cpu.cfs_quota_us").read_text())
                period_us = int((group / "cpu.cfs_period_us").read_text())
            if quota_us > 0 and period_us > 0:
                yield quota_us / period_us


def _groups(root: Path, controller: str) -> Iterator[tuple[int, Path]]:
    """The control groups that may limit this process, from its own up to the outermost.

    Each with the version of the interface that it has.
    """
    groups = {"": PurePosixPath("/"), controller: PurePosixPath("/")}
    with contextlib.suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            for name in controllers.split(","):
                groups[name] = PurePosixPath(path)
    places = [(2, mount, groups[""]) for mount in _VERSION_2]
    places.append((1, _VERSION_1.format(controller), groups[controller]))
    for version, mount, group in places:
        # A path with ".." lies outside what this process can see: what it sees begins at the mount.
        seen = PurePosixPath("/") if ".." in group.parts else group
        for part in (seen, *seen.parents):
            yield version, root / mount / part.relative_to("/")


def gpus() -> list[Gpu]:
    """The GPUs that NVIDIA's driver reports; empty where there is no driver."""
    listing = _nvidia_smi("--query-gpu=index,uuid,name,memory.total", "--format=csv,noheader")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible_gpus(listing, visible, _nvidia_smi("-L") if listing else "")


def gpu_driver() -> str:
    """The version of NVIDIA's driver; empty where there is none."""
    versions = _nvidia_smi("--query-gpu=driver_version", "--format=csv,noheader").split()
    return versions[0] if versions else ""


def gpu_bytes_of(pid: int) -> int | None:
    """Bytes of GPU memory that a process holds; None where the driver does not tell."""
    options = ("--query-compute-apps=pid,used_gpu_memory", "--format=csv,noheader,nounits")
    return gpu_bytes(_nvidia_smi(*options), pid)


def gpu_bytes(listing: str, pid: int) -> int | None:
    """The same, from nvidia-smi's answer: lines of "process, memory in MiB"."""
    sizes = [
        size.strip()
        for owner, _, size in (line.partition(",") for line in listing.splitlines())
        if owner.strip() == str(pid)
    ]
    if not sizes or not all(size.isdigit() for size in sizes):
        return None
    return sum(map(int, sizes)) * _MIB


def visible_gpus(listing: str, visible: str | None, parts: str = "") -> list[Gpu]:
    """The GPUs of nvidia-smi's answer that ``CUDA_VISIBLE_DEVICES`` leaves, renumbered.

    In the place of a GPU that MIG has divided are its parts: each is a device to CUDA, though a
    process can have one of them alone.

    Args:
        listing: lines of "index, uuid, name, memory in MiB".
        visible: the variable's value, None when it is not set.
        parts: what nvidia-smi -L says, which alone tells of parts.
    """
    by_key: dict[str, list[Gpu]] = {}
    order: list[str] = []
    divided = _mig_parts(parts)
    for line in listing.splitlines():
        words = [word.strip() for word in line.split(",")]
        if len(words) == 4:
            number, uuid, name, memory = words
            size = memory.partition(" ")[0]
            whole = Gpu(0, name, int(size) * _MIB if size.isdigit() else 0, uuid)
            by_key[number] = by_key[uuid] = divided.get(uuid) or [whole]
            by_key.update((part.uuid, [part]) for part in divided.get(uuid, ()))
            order.append(number)
    # As in CUDA, the list ends at the first entry that is none of the GPUs.
    chosen = order if visible is None else [key.strip() for key in visible.split(",")]
    known = takewhile(bool, (_named(key, by_key) for key in chosen))
    return [gpu._replace(number=number) for number, gpu in enumerate(chain.from_iterable(known))]


def _named(key: str, by_key: Mapping[str, list[Gpu]]) -> list[Gpu]:
    """The GPU, or parts, that *key* means: a number, or as much of a name as only one has."""
    if key in by_key:
        return by_key[key]
    found = [name for name in by_key if key and not key.isdigit() and name.startswith(key)]
    return by_key[found[0]] if len(found) == 1 else []


def _mig_parts(listing: str) -> dict[str, list[Gpu]]:
    """The parts of each GPU that has some, by the GPU's name."""
    found: dict[str, list[Gpu]] = {}
    name = uuid = ""
    for line in listing.splitlines():
        if whole := _WHOLE.match(line):
            name, uuid = whole["name"], whole["uuid"]
        elif part := _PART.match(line):
            size = int(int(part["gib"]) * _GIB * _OF_NOMINAL)
            made = Gpu(0, f"{name} MIG {part['profile']}", size, part["uuid"])
            found.setdefault(uuid, []).append(made)
    return found


def _nvidia_smi(*options: str) -> str:
    """What it writes; empty where it is not there, or fails."""
    if shutil.which("nvidia-smi") is None:
        return ""
    try:
        return subprocess.run(
            ["nvidia-smi", *options], capture_output=True, text=True, timeout=_ASK_S, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def processor() -> str:
    """The processor's model, as the system calls it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())
