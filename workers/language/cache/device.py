"""A cache in the memory of a device, which ONNX Runtime gives, fills with zeros and copies.

Nothing here calls CUDA: two small graphs do what a device must, so that all of it runs as well
where the processor stands for the device (ADR 0054).
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from penstock.errors import ArtifactUnusable, first_line
from penstock.workers.language.cache.cache import Floats, Layout
from penstock.workers.language.cache.graphs import COPIED, copying, zeros
from penstock.workers.runtimes.onnx_bound import bind, bind_at, giving_back, opened
from penstock.workers.runtimes.runtime import DeviceRef

_MIB = 1 << 20


class DeviceCache:
    """See `Cache`. All of its memory is taken at once, and one slot more, to swap others."""

    def __init__(self, layout: Layout, device: DeviceRef) -> None:
        """Take the memory.

        Raises:
            ArtifactUnusable: the device has too little of it, or cannot do this.
        """
        self.layout = layout
        self._device = device
        self._shapes = layout.parts
        self._strides = {name: 4 * math.prod(shape) for name, shape in self._shapes.items()}
        self._spare = layout.slots
        try:
            self._values = _zeros(layout, device)
        except Exception as error:  # the runtime raises what it likes
            raise ArtifactUnusable(
                f"{self.nbytes // _MIB} MiB of keys and values for {layout.slots} slots were not "
                f"to be had of {device.kind}:{device.index}: lower parameters['slots'], or export "
                f"the model with a shorter --context ({first_line(error)})"
            ) from error
        model = copying(self._shapes)
        self._copying = opened("the graph that copies slots", model, device, exact_memory=True)

    @property
    def nbytes(self) -> int:
        """See `Cache`."""
        return (self.layout.slots + 1) * self.layout.slot_bytes

    def bind(self, binding: Any, slot: int, count: int) -> None:
        """See `Cache`."""
        for name in self.layout.heard:
            self._bind(partial(binding.bind_input, name), name, slot, count)
        for name in self.layout.kept:
            self._bind(partial(binding.bind_input, name), name, slot, count)
            self._bind(partial(binding.bind_output, f"new_{name}"), name, slot, count)

    def bind_heard(self, binding: Any, slot: int) -> None:
        """See `Cache`."""
        for name in self.layout.heard:
            self._bind(partial(binding.bind_output, name), name, slot)

    def move(self, source: int, target: int, length: int) -> None:
        """See `Cache`; all of the slot goes along, which is in one piece."""
        del length
        binding = self._reading(source)
        for name in self._shapes:
            self._bind(partial(binding.bind_output, COPIED + name), name, target)
        # The run ends when the device has done it.
        self._copying.run_with_iobinding(binding)

    def swap(self, one: int, other: int, length: int) -> None:
        """See `Cache`."""
        self.move(one, self._spare, length)
        self.move(other, one, length)
        self.move(self._spare, other, length)

    def cached(self, slot: int, length: int) -> list[Floats]:
        """See `Cache`."""
        shapes = self._shapes.items()
        whole = {name: np.empty((1, *shape), np.float32) for name, shape in shapes}
        binding = self._reading(slot)
        for name, array in whole.items():
            bind(binding.bind_output, COPIED + name, array)
        # On its way a slot lies in memory of the session, which would keep it.
        self._copying.run_with_iobinding(binding, giving_back(self._device))
        kept = [whole[name][0, :, :length].copy() for name in self.layout.kept]
        return [*kept, *(whole[name][0] for name in self.layout.heard)]

    def _reading(self, slot: int) -> Any:
        binding = self._copying.io_binding()
        for name in self._shapes:
            self._bind(partial(binding.bind_input, name), name, slot)
        return binding

    def _bind(self, to: Callable[..., None], part: str, slot: int, count: int = 1) -> None:
        """Bind *count* slots of *part*, of which *slot* is the first, by where they lie."""
        address = self._values[part].data_ptr() + slot * self._strides[part]
        bind_at(to, self._device, (count, *self._shapes[part]), address)


def _zeros(layout: Layout, device: DeviceRef) -> dict[str, Any]:
    """Zeros for all slots and one more, where the device has them, by the parts' names."""
    # As much as it says, and not the next power of two.
    session = opened("the graph of zeros", zeros(layout.parts), device, exact_memory=True)
    binding = session.io_binding()
    for name, shape in layout.parts.items():
        binding.bind_cpu_input(f"shape_of_{name}", np.array([layout.slots + 1, *shape], np.int64))
        binding.bind_output(name, device.kind, device.index)
    session.run_with_iobinding(binding)
    return dict(zip(layout.parts, binding.get_outputs(), strict=True))
