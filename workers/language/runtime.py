"""A language model as a worker loads it: one stage with its slots, and the texts for gateways."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import structlog

from penstock.errors import ArtifactUnusable
from penstock.language.manifest import CHAT_TEMPLATE, MANIFEST, TOKENIZER, Manifest, read_manifest
from penstock.language.rebuild import Rebuild
from penstock.language.tokenizer import MOST_BYTES
from penstock.models.config.language_models import (
    PrefixCaching,
    Text,
    complete_language_model,
    prefix_caching,
    slots,
)
from penstock.protos import cluster_pb2
from penstock.protos.model_config_pb2 import ModelConfig
from penstock.workers.language.stage import Stage, numeric_domain
from penstock.workers.language.structured import Structured
from penstock.workers.runtimes.cuda_domain import cuda_domain
from penstock.workers.runtimes.onnx_bound import CUDA
from penstock.workers.runtimes.python.signature import signature_of
from penstock.workers.runtimes.runtime import DeviceRef

log = structlog.get_logger()

_WARM: Final = (1, 16)
"""Columns that are read once before any request comes."""


class LanguageRuntime:
    """A loaded stage of a version.

    Attributes:
        number: of the stage.
        slots: how many answers it has room for.
        prefix_caching: whether answers may begin with what slots have of others, as is asked.
        has_levels: requests may be more urgent than others.
        texts: file -> what it holds; of the first stage.
        signature: its tensors, and the configuration completed with where its texts are kept;
            later stages read and write nothing that clients see.
        structured: what the last stage needs for structured answers.
        numeric_domain: what it computes on; with how many threads, or on which GPU.
        rebuild: how a lost cache comes back here; none until somebody has seen it.
    """

    def __init__(
        self, stage: Stage, manifest: Manifest, number: int, slots: int, domain: str
    ) -> None:
        self.stage = stage
        self.manifest = manifest
        self.number = number
        self.slots = slots
        self.prefix_caching = PrefixCaching.OFF
        self.has_levels = False
        self.texts: Mapping[str, bytes] = {}
        self.structured: Structured | None = None
        self.numeric_domain = domain
        self.rebuild = Rebuild.NONE
        size = manifest.stages[number].weight_bytes
        size += 0 if manifest.speech is None else manifest.speech.weight_bytes
        self.signature = cluster_pb2.Signature(parameter_bytes=size)

    def __repr__(self) -> str:
        return f"LanguageRuntime(stage {self.number} of {len(self.manifest.stages)})"

    @classmethod
    def open(cls, artifact: Path, config: ModelConfig, device: DeviceRef) -> "LanguageRuntime":
        """Load the stage that *artifact* is on *device*; and run it once.

        Raises:
            ArtifactUnusable: it cannot be loaded; says what to do.
            InvalidConfiguration: the configuration says something that cannot be.
        """
        directory = artifact.parent
        manifest = read_manifest(directory)
        number = _number_of(artifact, manifest)
        room = slots(config), manifest.context
        stage = Stage.open(directory, manifest, number, room, device, config)
        stage.warm_up(*_WARM)
        domain = (
            cuda_domain(device.index, tf32=stage.uses_tf32)
            if device.kind == CUDA
            else numeric_domain(device.threads)
        )
        runtime = cls(stage, manifest, number, room[0], domain)
        if runtime.ends:
            runtime.structured = Structured(directory, manifest)
        if runtime.begins:
            runtime._complete(directory, config)
            runtime.prefix_caching = prefix_caching(config)
            runtime.has_levels = config.dynamic_batching.priority_levels > 1
        return runtime

    @property
    def begins(self) -> bool:
        """Whether it is the first stage, which takes the jobs."""
        return self.number == 0

    @property
    def ends(self) -> bool:
        """Whether it is the last stage, which samples."""
        return self.number == len(self.manifest.stages) - 1

    def _complete(self, directory: Path, config: ModelConfig) -> None:
        """Add what gateways need to know of the model."""
        self.texts = _read_texts(directory)
        completed = ModelConfig()
        completed.CopyFrom(config)
        kept = {name: _kept(text) for name, text in self.texts.items()}
        complete_language_model(completed, kept, hears=self.manifest.speech is not None)
        size = self.signature.parameter_bytes
        self.signature = signature_of(completed, size, directory.name)
        self.signature.config = completed.SerializeToString(deterministic=True)


def caches_prefixes(rebuild: Rebuild, asked: PrefixCaching, *, hears: bool = False) -> bool:
    """Whether to reuse what was computed; by itself only where that was seen to change no bit.

    Args:
        rebuild: of all stages together.
        hears: it is a model of speech.
    """
    if hears:
        # Answers about different sounds begin with the same tokens.
        return False
    if asked is not PrefixCaching.AUTO:
        return asked is PrefixCaching.ON
    if rebuild is Rebuild.PREFILL:
        return True
    log.info(
        "prefixes of earlier answers are not reused: it is not known that this changes no text; "
        "to have it all the same set the parameter prefix_caching to 'on'",
        rebuild=rebuild.value,
    )
    return False


def _number_of(artifact: Path, manifest: Manifest) -> int:
    """Which stage *artifact* is; the version must have all that the manifest names."""
    names = [stage.artifact for stage in manifest.stages]
    there = sorted(file.name for file in artifact.parent.glob("shard-*.onnx"))
    if artifact.name not in names or (there and there != sorted(names)):
        found = ", ".join(there or [artifact.name])
        raise ArtifactUnusable(
            f"{MANIFEST} is of {', '.join(names)}, and there is {found}: export the model again"
        )
    return names.index(artifact.name)


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
