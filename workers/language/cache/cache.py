"""What a stage keeps of each slot, and what can be done with it."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from penstock.language.manifest import Manifest

Floats = npt.NDArray[np.float32]
Shape = tuple[int, ...]


class Layout(NamedTuple):
    """The arrays of a cache, float32 each.

    Attributes:
        slots: places for one sequence each.
        kept: name -> shape of one slot, [kv_heads, capacity, head_size]: keys and values.
        heard: name -> shape of one slot: what an encoder makes, which a stage reads alone.
    """

    slots: int
    kept: Mapping[str, Shape]
    heard: Mapping[str, Shape]

    @classmethod
    def of(
        cls, manifest: Manifest, number: int, room: tuple[int, int], heard: Mapping[str, Shape]
    ) -> "Layout":
        """That of stage *number*; *room*: slots, and tokens in each."""
        slots, capacity = room
        stage = manifest.stages[number]
        shape = manifest.kv_heads, capacity, manifest.head_size
        layers = range(stage.first_layer, stage.first_layer + stage.layers)
        names = [f"{part}_{layer}" for layer in layers for part in ("keys", "values")]
        return cls(slots, dict.fromkeys(names, shape), heard)

    @property
    def parts(self) -> dict[str, Shape]:
        """All of a slot, in the order of the layers; what was heard last."""
        return {**self.kept, **self.heard}

    @property
    def slot_bytes(self) -> int:
        """Bytes of one slot."""
        return 4 * sum(math.prod(shape) for shape in self.parts.values())


class Cache(Protocol):
    """Keys and values of all slots, and what these have heard. Belongs to one thread."""

    @property
    def layout(self) -> Layout:
        """What it consists of."""

    @property
    def nbytes(self) -> int:
        """Bytes once all slots are full."""

    def bind(self, binding: Any, slot: int, count: int) -> None:
        """Let a run of a stage read and write *count* slots from *slot* on, in place."""

    def bind_heard(self, binding: Any, slot: int) -> None:
        """Let a run of an encoder write what *slot* hears."""

    def move(self, source: int, target: int, length: int) -> None:
        """Copy what slot *source* has of its first *length* tokens into slot *target*.

        Behind them *target* may have anything. What was heard goes along.
        """

    def swap(self, one: int, other: int, length: int) -> None:
        """Give slots *one* and *other* what the other has of its first *length* tokens."""

    def cached(self, slot: int, length: int) -> list[Floats]:
        """Copies of what *slot* has of its first *length* tokens, in the layers' order.

        And of what it has heard.
        """
