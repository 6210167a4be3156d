"""A language model as a worker loads it: its stages and slots, and the texts for gateways."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from penstock.errors import ArtifactUnusable
from penstock.language.manifest import CHAT_TEMPLATE, MANIFEST, TOKENIZER, read_manifest
from penstock.language.tokenizer import MOST_BYTES
from penstock.models.config.language_models import Text, complete_language_model, slots
from penstock.protos import cluster_pb2
from penstock.protos.model_config_pb2 import ModelConfig
from penstock.workers.language.pipeline import Pipeline
from penstock.workers.runtimes.python.signature import signature_of

_WARM: Final = (1, 16)
"""Columns that are read once before any request comes."""


class LanguageRuntime:
    """A loaded version.

    Attributes:
        texts: file -> what it holds.
        signature: its tensors, and the configuration completed with where its texts are kept.
    """

    def __init__(
        self, model: Pipeline, texts: Mapping[str, bytes], signature: cluster_pb2.Signature
    ) -> None:
        self.model = model
        self.texts = texts
        self.signature = signature

    @classmethod
    def open(cls, artifact: Path, config: ModelConfig, threads: int) -> "LanguageRuntime":
        """Load the version that *artifact* is the only stage of, on the CPU; and run it once.

        Raises:
            ArtifactUnusable: it cannot be loaded; says what to do.
            InvalidConfiguration: the configuration says something that cannot be.
        """
        directory = artifact.parent
        manifest = read_manifest(directory)
        if [stage.artifact for stage in manifest.stages] != [artifact.name]:
            raise ArtifactUnusable(
                f"{MANIFEST} is not of {artifact.name} alone: export the model again"
            )
        texts = _read_texts(directory)
        model = Pipeline.open(directory, manifest, slots(config), manifest.context, threads)
        model.warm_up(*_WARM)
        completed = ModelConfig()
        completed.CopyFrom(config)
        complete_language_model(completed, {name: _kept(text) for name, text in texts.items()})
        size = sum(stage.weight_bytes for stage in manifest.stages)
        signature = signature_of(completed, size, directory.name)
        signature.config = completed.SerializeToString(deterministic=True)
        return cls(model, texts, signature)

    def close(self) -> None:
        """Nothing that the end of the process does not do."""


def _read_texts(directory: Path) -> dict[str, bytes]:
    texts: dict[str, bytes] = {}
    for name in (MANIFEST, TOKENIZER, CHAT_TEMPLATE):
        path = directory / name
        if path.is_file():
            with path.open("rb") as file:
                texts[name] = file.read(MOST_BYTES + 1)
        elif name != CHAT_TEMPLATE:
            raise ArtifactUnusable(f"{path} is missing: export the model again")
    return texts


def _kept(text: bytes) -> Text:
    """Its digest as the registry has it, and its size."""
    return Text(hashlib.blake2b(text, digest_size=16).hexdigest(), len(text))
