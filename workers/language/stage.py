"""One stage of a language model on this machine: its shard, and the cache of its layers."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from penstock.errors import ArtifactUnusable
from penstock.language.manifest import Manifest
from penstock.process import machine
from penstock.protos.model_config_pb2 import ModelConfig
from penstock.workers.language.cache.cache import Cache, Layout
from penstock.workers.language.cache.device import DeviceCache
from penstock.workers.language.cache.host import HostCache
from penstock.workers.language.cache.proof import prove_in_place
from penstock.workers.language.speech.encoder import Encoder
from penstock.workers.runtimes.onnx_bound import CPU, bind, opened, uses_tf32
from penstock.workers.runtimes.runtime import DeviceRef

Tokens = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

_TRIED: Final = 3
"""Columns with which a device is tried."""


class Stage:
    """A stage with its cache.

    A slot is a place in the cache for one sequence; a call is for consecutive ones. The cache is
    written in place: what goes in and what comes out are bound to one buffer.

    Attributes:
        capacity: tokens of each sequence.
        width: numbers in a hidden state.
    """

    def __init__(
        self,
        session: Any,
        manifest: Manifest,
        number: int,
        cache: Cache,
        encoder: Encoder | None = None,
    ) -> None:
        """*encoder*: of a model of speech."""
        self._encoder = encoder
        self._session = session
        self._manifest = manifest
        self._begins = number == 0
        self._ends = number == len(manifest.stages) - 1
        self._cache = cache
        self.capacity = next(iter(cache.layout.kept.values()))[1]
        self.width = manifest.width
        self._bound: dict[tuple[int, int], Any] = {}

    @classmethod
    def open(
        cls,
        directory: Path,
        manifest: Manifest,
        number: int,
        room: tuple[int, int],
        device: DeviceRef,
        config: ModelConfig | None = None,
    ) -> "Stage":
        """Stage *number* of the version in *directory*.

        Args:
            room: slots, and tokens in each.
            config: what its owner says to CUDA; None for nothing.

        Raises:
            ArtifactUnusable: its artifact cannot be loaded there, or is of another model.
        """
        artifact = directory / manifest.stages[number].artifact
        encoder = Encoder.open(directory, manifest, device, config)
        heard = {} if encoder is None else dict.fromkeys(encoder.names, encoder.shape)
        layout = Layout.of(manifest, number, room, heard)
        session = opened(artifact.name, artifact, device, config)
        cache = HostCache(layout) if device.kind == CPU else DeviceCache(layout, device)
        stage = cls(session, manifest, number, cache, encoder)
        stage._check(artifact.name)
        if device.kind != CPU:
            prove_in_place(stage, stage._made_up(_TRIED), room[0])
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
        """Bytes of its cache once all slots are full; see `Cache`."""
        return self._cache.nbytes

    @property
    def uses_tf32(self) -> bool:
        """Whether what is multiplied may be rounded; on a GPU, where its owner asks for it."""
        return uses_tf32(self._session)

    def hear(self, slot: int, samples: Floats) -> None:
        """Let the sequence in *slot* be about *samples*, float32[count]; see `Encoder.hear`."""
        if self._encoder is not None:
            self._encoder.hear(samples, slot, self._cache)

    def warm_up(self, *lengths: int) -> None:
        """Run once for each of *lengths* columns, in slot 0, which nothing has yet."""
        self.hear(0, np.zeros(1, np.float32))
        for length in lengths:
            start, wanted = np.zeros(1, np.int64), np.array([[0, length - 1]], np.int64)
            self.step(self._made_up(length), start, wanted)

    def _made_up(self, length: int) -> Tokens | Floats:
        """So many columns of one row."""
        if self._begins:
            return np.ones((1, length), np.int64)
        return np.ones((1, length, self.width), np.float32)

    def move(self, source: int, target: int, length: int) -> None:
        """See `Cache.move`."""
        self._cache.move(source, target, length)

    def swap(self, one: int, other: int, length: int) -> None:
        """See `Cache.swap`."""
        self._cache.swap(one, other, length)

    def cached(self, slot: int, length: int) -> list[Floats]:
        """See `Cache.cached`."""
        return self._cache.cached(slot, length)

    def _binding(self, slot: int, batch: int) -> Any:
        """The caches of so many slots, bound; kept, since steps differ in small tensors alone."""
        if (slot, batch) not in self._bound:
            binding = self._session.io_binding()
            self._cache.bind(binding, slot, batch)
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
        layout = self._cache.layout
        inputs = {"start": ["batch"], **first, **dict.fromkeys(layout.kept, shape)}
        inputs |= {"wanted": ["rows", 2]} if self._ends else {}
        inputs |= {name: ["batch", *heard] for name, heard in layout.heard.items()}
        logits = {"logits": ["rows", self._manifest.vocabulary]}
        outputs = logits if self._ends else {"next_hidden": wide}
        outputs |= dict.fromkeys((f"new_{name}" for name in layout.kept), shape)
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
