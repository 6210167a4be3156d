"""A cache in the memory of the machine, where the processor computes."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from penstock.workers.language.cache.cache import Floats, Layout, Shape
from penstock.workers.runtimes.onnx_bound import bind


class HostCache:
    """See `Cache`. The system gives its memory when it is used."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.kept = _zeros(layout.slots, layout.kept)
        self.heard = _zeros(layout.slots, layout.heard)

    @property
    def nbytes(self) -> int:
        """See `Cache`."""
        return self.layout.slots * self.layout.slot_bytes

    def bind(self, binding: Any, slot: int, count: int) -> None:
        """See `Cache`."""
        for name, array in self.heard.items():
            bind(binding.bind_input, name, array[slot : slot + count])
        for name, array in self.kept.items():
            bind(binding.bind_input, name, array[slot : slot + count])
            bind(binding.bind_output, f"new_{name}", array[slot : slot + count])

    def bind_heard(self, binding: Any, slot: int) -> None:
        """See `Cache`."""
        for name, array in self.heard.items():
            bind(binding.bind_output, name, array[slot : slot + 1])

    def move(self, source: int, target: int, length: int) -> None:
        """See `Cache`."""
        for array in self.heard.values():
            array[target] = array[source]
        for array in self.kept.values():
            array[target, :, :length] = array[source, :, :length]

    def swap(self, one: int, other: int, length: int) -> None:
        """See `Cache`."""
        for array in self.heard.values():
            array[[one, other]] = array[[other, one]]
        for array in self.kept.values():
            kept = array[one, :, :length].copy()
            array[one, :, :length] = array[other, :, :length]
            array[other, :, :length] = kept

    def cached(self, slot: int, length: int) -> list[Floats]:
        """See `Cache`."""
        heard = [array[slot].copy() for array in self.heard.values()]
        return [*(array[slot, :, :length].copy() for array in self.kept.values()), *heard]


def _zeros(slots: int, shapes: Mapping[str, Shape]) -> dict[str, Floats]:
    # Zeros: what a mask hides is multiplied by 0, and must be a number.
    return {name: np.zeros((slots, *shape), np.float32) for name, shape in shapes.items()}
