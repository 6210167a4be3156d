"""What this machine has: cores, memory, GPUs, as far as this process may use them."""

import contextlib
import math
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

_MIB: Final = 1 << 20
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
    """A GPU as CUDA programs of this process see it.

    Attributes:
        number: CUDA's for it: 0 is the first that `CUDA_VISIBLE_DEVICES` leaves.
        memory_bytes: 0 where the driver does not tell.
    """

    number: int
    name: str
    memory_bytes: int


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
    if shutil.which("nvidia-smi") is None:
        return []
    try:
        listing = subprocess.run(
            ["nvidia-smi", "--query-gpu=index,uuid,name,memory.total", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=_ASK_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return visible_gpus(listing.stdout, os.environ.get("CUDA_VISIBLE_DEVICES"))


def visible_gpus(listing: str, visible: str | None) -> list[Gpu]:
    """The GPUs of nvidia-smi's answer *told* that ``CUDA_VISIBLE_DEVICES`` leaves, renumbered.

    Args:
        listing: lines of "index, uuid, name, memory in MiB".
        visible: the variable's value, None when it is not set.
    """
    by_key: dict[str, tuple[str, int]] = {}
    order: list[str] = []
    for line in listing.splitlines():
        parts = [part.strip() for part in line.split(",")]
        if len(parts) == 4:
            number, uuid, name, memory = parts
            size = memory.partition(" ")[0]
            facts = name, int(size) * _MIB if size.isdigit() else 0
            by_key[number] = by_key[uuid] = facts
            order.append(number)
    # As in CUDA, the list ends at the first entry that is none of the GPUs.
    chosen = order if visible is None else [key.strip() for key in visible.split(",")]
    found: list[Gpu] = []
    for key in chosen:
        if key not in by_key:
            break
        found.append(Gpu(len(found), *by_key[key]))
    return found
