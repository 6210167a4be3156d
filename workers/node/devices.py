"""The devices of this machine that can hold shards, as the registry records them."""

import platform
from collections.abc import Mapping, Sequence

from penstock.process import machine
from penstock.process.machine import Gpu
from penstock.protos import cluster_pb2 as pb

_MIB = 1 << 20


def devices_of_machine(
    cpu_memory_mib: int | None, gpus: Sequence[Gpu], gpu_memory_mib: int | None = None
) -> list[pb.Device]:
    """The CPU, and each of *gpus*.

    Args:
        cpu_memory_mib: what workers on the CPU may use in all; None for the machine's memory.
        gpu_memory_mib: what they may use of each GPU; None for all of it.
    """
    memory_bytes = machine.memory_bytes() if cpu_memory_mib is None else cpu_memory_mib * _MIB
    cpu = pb.Device(
        kind="cpu", index=0, memory_bytes=memory_bytes, name=platform.processor() or "cpu"
    )
    cuda = [
        pb.Device(
            kind="cuda",
            index=gpu.number,
            memory_bytes=_memory_of(gpu, gpu_memory_mib),
            name=gpu.name,
        )
        for gpu in gpus
    ]
    return [cpu, *cuda]


def _memory_of(gpu: Gpu, memory_mib: int | None) -> int:
    """What may be used of it: no more than it has, where the driver tells (0: it does not)."""
    if memory_mib is None:
        return gpu.memory_bytes
    allowed = memory_mib * _MIB
    return min(gpu.memory_bytes, allowed) if gpu.memory_bytes else allowed


def variables_for(device: str, gpus: Sequence[Gpu]) -> Mapping[str, str]:
    """The environment in which a worker sees *device* alone, of the machine's *gpus*.

    Its GPU is the first to it, whatever its number. A worker on the CPU sees none, and so cannot
    take memory of one. Empty where there are no GPUs to see.
    """
    if not gpus:
        return {}
    kind, _, number = device.partition(":")
    seen = [gpu.uuid for gpu in gpus if kind == "cuda" and gpu.number == int(number)]
    return {"CUDA_VISIBLE_DEVICES": ",".join(seen)}
