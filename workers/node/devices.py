"""The devices of this machine that can hold shards, as the registry records them."""

import platform

from penstock.process import machine
from penstock.protos import cluster_pb2 as pb

_MIB = 1 << 20


def devices_of_machine(cpu_memory_mib: int | None) -> list[pb.Device]:
    """The CPU, and each GPU.

    Args:
        cpu_memory_mib: what workers on the CPU may use in all; None for the machine's memory.
    """
    memory_bytes = machine.memory_bytes() if cpu_memory_mib is None else cpu_memory_mib * _MIB
    cpu = pb.Device(
        kind="cpu", index=0, memory_bytes=memory_bytes, name=platform.processor() or "cpu"
    )
    gpus = [
        pb.Device(kind="cuda", index=gpu.number, memory_bytes=gpu.memory_bytes, name=gpu.name)
        for gpu in machine.gpus()
    ]
    return [cpu, *gpus]
