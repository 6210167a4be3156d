"""Where tensors may lie: for Triton several places, here host memory alone."""

from enum import IntEnum
from typing import Final

from penstock.workers.runtimes.triton_python.errors import TritonModelException


class MemoryType(IntEnum):
    """Triton's kinds of memory."""

    TRITONSERVER_MEMORY_CPU = 0
    TRITONSERVER_MEMORY_CPU_PINNED = 1
    TRITONSERVER_MEMORY_GPU = 2


TRITONSERVER_MEMORY_CPU: Final = MemoryType.TRITONSERVER_MEMORY_CPU
TRITONSERVER_MEMORY_GPU: Final = MemoryType.TRITONSERVER_MEMORY_GPU


class PreferredMemory:
    """Where a call's outputs should be; host memory is what every call gets."""

    def __init__(self, preferred_memory_type: int, preferred_device_id: int = 0) -> None:
        self._type = MemoryType(preferred_memory_type)
        self._device = preferred_device_id

    def check(self) -> None:
        """Refuse the memory of a device.

        Raises:
            TritonModelException: it is asked for.
        """
        if self._type is MemoryType.TRITONSERVER_MEMORY_GPU:
            raise TritonModelException(
                "PreferredMemory(TRITONSERVER_MEMORY_GPU): outputs of other models come in host "
                "memory: take TRITONSERVER_MEMORY_CPU, and move them where they are needed"
            )
