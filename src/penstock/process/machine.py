"""What this machine has: cores, memory, GPUs, as far as this process may use them."""

import contextlib
import os
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
# Where the memory controller may be, and what its limit is called there: version 2, the hybrid
# that systemd offers, and version 1.
_CONTROLLERS: Final = (
    ("", "sys/fs/cgroup", "memory.max"),
    ("", "sys/fs/cgroup/unified", "memory.max"),
    ("memory", "sys/fs/cgroup/memory", "memory.limit_in_bytes"),
)


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


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_bytes(root: Path = _ROOT) -> int:
    """Bytes of memory that this process may use: the machine's, or its control group's.

    A group counts with all that it lies in: the smallest limit on the way up ends a process.
    """
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in _cgroup_limits(root):
        with contextlib.suppress(OSError, ValueError):  # "max", or another kind of system
            total = min(total, int(limit.read_text()))
    return total


def _cgroup_limits(root: Path) -> Iterator[Path]:
    """The files that may limit this process, from its own control group up to the outermost."""
    groups = {"": PurePosixPath("/"), "memory": PurePosixPath("/")}
    with contextlib.suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            for name in controllers.split(","):
                groups[name] = PurePosixPath(path)
    for controller, mount, name in _CONTROLLERS:
        group = groups[controller]
        # A path with ".." lies outside what this process can see: what it sees begins at the mount.
        seen = PurePosixPath("/") if ".." in group.parts else group
        for part in (seen, *seen.parents):
            yield root / mount / part.relative_to("/") / name


def gpus() -> list[Gpu]:
    """The GPUs that NVIDIA's driver reports; empty where there is no driver."""
    listing = _nvidia_smi("--query-gpu=index,uuid,name,memory.total", "--format=csv,noheader")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible_gpus(listing, visible, _nvidia_smi("-L") if listing else "")


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
