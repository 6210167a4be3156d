"""One stage of a language model on this machine: its shard, and the cache of its layers."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.errors import ArtifactUnusable
from penstock.language.manifest import Manifest
from penstock.process import machine
from penstock.workers.language.speech.encoder import Encoder
from penstock.workers.runtimes.onnx_bound import bind, opened

Tokens = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


class Stage:
    """A stage whose cache has room for *slots* sequences of *capacity* tokens each.

    A slot is a place in the cache; a call is for consecutive ones. The cache is written in place:
    what goes in and what comes out are bound to one buffer.

    Attributes:
        capacity: tokens of each sequence.
        width: numbers in a hidden state.
    """

    def __init__(
        self,
        session: Any,
        manifest: Manifest,
        number: int,
        room: tuple[int, int],
        encoder: Encoder | None = None,
    ) -> None:
        """*room*: slots, and capacity; *encoder*: of a model of speech."""
        self._encoder = encoder
        self._session = session
        self._manifest = manifest
        self._begins = number == 0
        self._ends = number == len(manifest.stages) - 1
        slots, self.capacity = room
        self.width = manifest.width
        stage = manifest.stages[number]
        shape = slots, manifest.kv_heads, self.capacity, manifest.head_size
        layers = range(stage.first_layer, stage.first_layer + stage.layers)
        # Zeros: what a mask hides is multiplied by 0, and must be a number.
        self._cache = {
            f"{part}_{layer}": np.zeros(shape, np.float32)
            for layer in layers
            for part in ("keys", "values")
        }
        # What was heard in each slot: as the cache, but read alone.
        self._heard = (
            {}
            if encoder is None
            else {name: np.zeros((slots, *encoder.shape), np.float32) for name in encoder.names}
        )
        self._bound: dict[tuple[int, int], Any] = {}

    @classmethod
    def open(
        cls, directory: Path, manifest: Manifest, number: int, room: tuple[int, int], threads: int
    ) -> "Stage":
        """Stage *number* of the version in *directory*, on the CPU.

        Raises:
            ArtifactUnusable: its artifact cannot be loaded, or is of another model.
        """
        artifact = directory / manifest.stages[number].artifact
        encoder = Encoder.open(directory, manifest, threads)
        stage = cls(opened(artifact, threads), manifest, number, room, encoder)
        stage._check(artifact.name)
        return stage

    def step(
        self, columns: Tokens | Floats, start: Tokens, wanted: Tokens | None, slot: int = 0
    ) -> Floats:
        """Compute *columns* of consecutive slots, and store their keys and values.

        Args:
            columns: int64[batch, length] tokens, or float32[batch, length, width] hidden states.
            start: int64[batch], the position of each row's first column.
            wanted: int64[rows, 2], for the last stage: (row of the batch, column).
            slot: of the first row.

        Returns:
            float32[batch, length, width], or float32[rows, vocabulary].
        """
        batch, length = columns.shape[:2]
        shape: tuple[int, ...]
        binding = self._binding(slot, batch)
        given = {"tokens" if self._begins else "hidden": columns, "start": start}
        out, shape = "next_hidden", (batch, length, self._manifest.width)
        if self._ends and wanted is not None:
            given["wanted"] = wanted
            out, shape = "logits", (len(wanted), self._manifest.vocabulary)
        held = {name: np.ascontiguousarray(array) for name, array in given.items()}
        for name, array in held.items():
            bind(binding.bind_input, name, array)
        result = np.empty(shape, np.float32)
        bind(binding.bind_output, out, result)
        self._session.run_with_iobinding(binding)
        return result

    @property
    def cache_bytes(self) -> int:
        """Bytes of its cache once all slots are full; the system gives them when used."""
        return sum(array.nbytes for array in (*self._cache.values(), *self._heard.values()))

    def hear(self, slot: int, samples: Floats) -> None:
        """Let the sequence in *slot* be about *samples*, float32[count]; see `Encoder.hear`."""
        if self._encoder is not None:
            self._encoder.hear(samples, {name: heard[slot] for name, heard in self._heard.items()})

    def warm_up(self, *lengths: int) -> None:
        """Run once for each of *lengths* columns, in slot 0, which nothing has yet."""
        self.hear(0, np.zeros(1, np.float32))
        for length in lengths:
            shape, start = (1, length), np.zeros(1, np.int64)
            columns = np.zeros(shape if self._begins else (*shape, self.width), np.float32)
            given = columns.astype(np.int64) if self._begins else columns
            self.step(given, start, np.array([[0, length - 1]], np.int64))

    def move(self, source: int, target: int, length: int) -> None:
        """Copy what slot *source* has of its first *length* tokens into slot *target*."""
        for array in self._heard.values():
            array[target] = array[source]
        for array in self._cache.values():
            array[target, :, :length] = array[source, :, :length]

    def swap(self, one: int, other: int, length: int) -> None:
        """Give slots *one* and *other* what the other has of its first *length* tokens."""
        for array in self._heard.values():
            array[[one, other]] = array[[other, one]]
        for array in self._cache.values():
            kept = array[one, :, :length].copy()
            array[one, :, :length] = array[other, :, :length]
            array[other, :, :length] = kept

    def cached(self, slot: int, length: int) -> list[Floats]:
        """Copies of what *slot* has of its first *length* tokens, in the layers' order.

        And of what it has heard.
        """
        heard = [array[slot].copy() for array in self._heard.values()]
        return [*(array[slot, :, :length].copy() for array in self._cache.values()), *heard]

    def _binding(self, slot: int, batch: int) -> Any:
        """The caches of so many slots, bound; kept, since steps differ in small tensors alone."""
        if (slot, batch) not in self._bound:
            binding = self._session.io_binding()
            for name, array in self._heard.items():
                bind(binding.bind_input, name, array[slot : slot + batch])
            for name, array in self._cache.items():
                bind(binding.bind_input, name, array[slot : slot + batch])
                bind(binding.bind_output, f"new_{name}", array[slot : slot + batch])
            self._bound[slot, batch] = binding
        return self._bound[slot, batch]

    def _check(self, artifact: str) -> None:
        """Refuse an artifact that writes or reads anything but what the manifest says.

        Bindings are addresses: a graph of another shape would write beyond its buffer.
        """
        shape = ["batch", self._manifest.kv_heads, "capacity", self._manifest.head_size]
        columns = ["batch", "length"]
        wide = [*columns, self._manifest.width]
        first = {"tokens": columns} if self._begins else {"hidden": wide}
        inputs = {"start": ["batch"], **first, **dict.fromkeys(self._cache, shape)}
        inputs |= {"wanted": ["rows", 2]} if self._ends else {}
        if self._encoder is not None:
            inputs |= {name: ["batch", *self._encoder.shape] for name in self._heard}
        logits = {"logits": ["rows", self._manifest.vocabulary]}
        outputs = logits if self._ends else {"next_hidden": wide}
        outputs |= dict.fromkeys((f"new_{name}" for name in self._cache), shape)
        there = {one.name: one.shape for one in self._session.get_inputs()}
        gives = {one.name: one.shape for one in self._session.get_outputs()}
        if there != inputs or gives != outputs:
            raise ArtifactUnusable(
                f"{artifact} is not the stage that the manifest describes: export the model again"
            )


def numeric_domain(threads: int) -> str:
    """The processor, the runtime and the threads: where they are the same, so are all bits."""
    import onnxruntime

    many = "1 thread" if threads == 1 else f"{threads} threads"
    return f"{machine.processor()}, ONNX Runtime {onnxruntime.__version__}, {many}"
