"""The encoder of a model of speech on this machine: from samples to what a slot has of them."""

from pathlib import Path
from typing import Any

import numpy as np

from penstock.errors import ArtifactUnusable, InvalidRequest
from penstock.language.manifest import Manifest
from penstock.language.speech.features import log_mel
from penstock.language.speech.tokens import Speech
from penstock.protos.model_config_pb2 import ModelConfig
from penstock.workers.language.answer import Answer
from penstock.workers.language.cache.cache import Cache, Floats
from penstock.workers.runtimes.onnx_bound import bind, opened
from penstock.workers.runtimes.runtime import DeviceRef


class Encoder:
    """A loaded encoder. Belongs to one thread.

    Attributes:
        names: of what it makes of a window.
        shape: of each of these: heads, positions, size of a head.
    """

    def __init__(self, session: Any, manifest: Manifest, speech: Speech) -> None:
        self._session = session
        self._speech = speech
        layers = range(sum(stage.layers for stage in manifest.stages))
        self.names = [f"heard_{part}_{n}" for n in layers for part in ("keys", "values")]
        self.shape = manifest.kv_heads, speech.positions, manifest.head_size

    @classmethod
    def open(
        cls,
        directory: Path,
        manifest: Manifest,
        device: DeviceRef,
        config: ModelConfig | None = None,
    ) -> "Encoder | None":
        """That of the version in *directory*; None of a model that hears nothing.

        Raises:
            ArtifactUnusable: its artifact cannot be loaded, or is of another model.
        """
        speech = manifest.speech
        if speech is None:
            return None
        artifact = directory / speech.artifact
        encoder = cls(opened(artifact.name, artifact, device, config), manifest, speech)
        encoder._check()
        return encoder

    def hear(self, samples: Floats, slot: int, cache: Cache) -> None:
        """Write what the decoder needs of *samples* into *slot* of *cache*.

        Args:
            samples: float32[count], at 16 kHz, at most a window.
        """
        speech = self._speech
        spectrum = np.ascontiguousarray(log_mel(samples, speech.mels, speech.frames)[None])
        binding = self._session.io_binding()
        bind(binding.bind_input, "spectrum", spectrum)
        cache.bind_heard(binding, slot)
        self._session.run_with_iobinding(binding)

    def _check(self) -> None:
        """As `Stage._check`: bindings are addresses."""
        inputs = {"spectrum": [1, self._speech.mels, self._speech.frames]}
        outputs = {name: [1, *self.shape] for name in self.names}
        there = {one.name: one.shape for one in self._session.get_inputs()}
        gives = {one.name: one.shape for one in self._session.get_outputs()}
        if there != inputs or gives != outputs:
            raise ArtifactUnusable(
                f"{self._speech.artifact} is not the encoder that the manifest describes: export "
                "the model again"
            )


def check_audio(manifest: Manifest, answer: Answer) -> None:
    """Whether *answer* has the audio that its model hears.

    Raises:
        InvalidRequest: it has none, or too much.
    """
    speech = manifest.speech
    if speech is None:
        return
    count = 0 if answer.audio is None else len(answer.audio)
    if not 0 < count <= speech.samples:
        raise InvalidRequest(
            f"the request has {count} samples of audio: this model hears 1 to {speech.samples}, "
            f"{speech.seconds:g} s at 16 kHz"
        )
