"""All stages of a language model in one process, one behind the other."""

from collections.abc import Sequence
from pathlib import Path

from penstock.language.manifest import Manifest
from penstock.language.speech.rules import Rules
from penstock.workers.language.answer import Answer
from penstock.workers.language.batch import (
    Batch,
    Entry,
    echo_of,
    echoed,
    ends_of,
    part_of,
    sampled,
)
from penstock.workers.language.stage import Floats, Stage, Tokens
from penstock.workers.language.structured import Structured
from penstock.workers.runtimes.onnx_bound import CPU
from penstock.workers.runtimes.runtime import DeviceRef


class Pipeline:
    """Stages in their order, with the same slots.

    Attributes:
        slots: how many sequences there is room for.
        capacity: tokens of each.
        structured: what its structured answers may go on with.
    """

    def __init__(
        self, manifest: Manifest, stages: Sequence[Stage], slots: int, structured: Structured
    ) -> None:
        self.manifest = manifest
        self.structured = structured
        self.slots = slots
        self.capacity = stages[0].capacity
        self._stages = stages
        speech = manifest.speech
        self._rules = None if speech is None else Rules(speech, manifest.vocabulary)

    @classmethod
    def open(
        cls, directory: Path, manifest: Manifest, slots: int, capacity: int, threads: int
    ) -> "Pipeline":
        """The version in *directory*, which *manifest* describes, on the CPU.

        Args:
            capacity: tokens of a sequence; more than its context is taken as that.

        Raises:
            ArtifactUnusable: an artifact cannot be loaded, or is not what the manifest says.
        """
        room = slots, min(capacity, manifest.context)
        stages = [
            Stage.open(directory, manifest, number, room, DeviceRef(CPU, 0, threads))
            for number in range(len(manifest.stages))
        ]
        return cls(manifest, stages, slots, Structured(directory, manifest))

    @property
    def cache_bytes(self) -> int:
        """Bytes of keys and values once all slots are full; the system gives them when used."""
        return self.slots * self.capacity * self.manifest.token_bytes

    def step(self, tokens: Tokens | Floats, start: Tokens, wanted: Tokens, slot: int = 0) -> Floats:
        """Logits of the *wanted* rows; arguments as for `Stage.step`."""
        columns = tokens
        for stage in self._stages:
            columns = stage.step(columns, start, wanted, slot)
        return columns  # type: ignore[return-value]  # what the last stage gives

    def take(self, slot: int, answer: Answer) -> None:
        """See `Model`."""
        if answer.audio is not None:
            self.hear(slot, answer.audio)
        self.structured.take(answer)

    def hear(self, slot: int, samples: Floats) -> None:
        """As `Stage.hear`; a model of speech has one stage."""
        self._stages[0].hear(slot, samples)

    def read(self, slot: int, answer: Answer, begin: int, end: int) -> None:
        """See `Model`."""
        self._through(part_of(answer, slot, begin, end))

    def echo(self, slot: int, answer: Answer, begin: int, end: int) -> list[int]:
        """See `Model`."""
        return echoed(self._through(echo_of(answer, slot, begin, end)), answer, begin)

    def next_entries(self, answers: Sequence[Answer]) -> list[Entry]:
        """See `Model`."""
        return sampled(self._through(ends_of(answers)), answers, self.structured, self._rules)

    def _through(self, batch: Batch) -> Floats:
        return self.step(batch.columns, batch.start, batch.wanted, batch.slot)

    def move(self, source: int, target: int, length: int) -> None:
        """As `Stage.move`, in each stage."""
        for stage in self._stages:
            stage.move(source, target, length)

    def swap(self, one: int, other: int, length: int) -> None:
        """As `Stage.swap`, in each stage."""
        for stage in self._stages:
            stage.swap(one, other, length)

    def cached(self, slot: int, length: int) -> list[Floats]:
        """As `Stage.cached`, of all stages."""
        return [array for stage in self._stages for array in stage.cached(slot, length)]
