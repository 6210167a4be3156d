"""The manifest of an exported language model, ``language.json``: what its stages are, and hold."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from penstock.errors import ArtifactUnusable
from penstock.language.rebuild import Rebuild
from penstock.language.speech.tokens import Speech

MANIFEST: Final = "language.json"
TOKENIZER: Final = "tokenizer.json"
CHAT_TEMPLATE: Final = "chat_template.jinja"

_FORMAT: Final = 1
_MOST_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class StageFile:
    """One stage.

    Attributes:
        artifact: its file; weights are beside it.
        first_layer, layers: those that it holds, whose keys and values it keeps.
        weight_bytes: in the artifact and beside it.
        token_work: multiplications for one token.
    """

    artifact: str
    first_layer: int
    layers: int
    weight_bytes: int
    token_work: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """An exported language model.

    Attributes:
        context: the most tokens that a sequence may have, prompt and answer.
        vocabulary: tokens, and columns of the logits.
        width: numbers in a hidden state.
        kv_heads, head_size: of each layer's cache, float32[slots, kv_heads, capacity, head_size].
        end_tokens: each ends an answer.
        defaults: options of requests that say nothing else.
        rebuild: how a cache that was lost comes back equal to the bit.
        proved_on: the processor, the runtime and the threads with which that was seen.
        template_variables: what its chat template knows beside messages, such as bos_token.
        speech: of a model that writes down what it hears, its encoder and tokens.
    """

    architecture: str
    context: int
    vocabulary: int
    width: int
    kv_heads: int
    head_size: int
    weights: str
    end_tokens: tuple[int, ...]
    defaults: dict[str, Any]
    stages: tuple[StageFile, ...]
    rebuild: Rebuild = Rebuild.NONE
    proved_on: str = ""
    template_variables: dict[str, str] = field(default_factory=dict)
    speech: Speech | None = None

    @property
    def token_bytes(self) -> int:
        """Bytes of keys and values for one token, in all stages."""
        layers = sum(stage.layers for stage in self.stages)
        return 2 * 4 * layers * self.kv_heads * self.head_size

    def to_json(self) -> str:
        """The text of ``language.json``."""
        said = asdict(self)
        if self.speech is None:
            # Releases that know no encoders read it as well.
            del said["speech"]
        return json.dumps({"format": _FORMAT, **said}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What a ``language.json`` says.

        Raises:
            ArtifactUnusable: it is none, or one of another release.
        """
        try:
            fields = json.loads(text)
            if fields.pop("format") != _FORMAT:
                raise ArtifactUnusable(f"{MANIFEST} is of another release: export the model again")
            stages = tuple(StageFile(**stage) for stage in fields.pop("stages"))
            ends = tuple(int(token) for token in fields.pop("end_tokens"))
            rebuild = Rebuild(fields.pop("rebuild", Rebuild.NONE))
            heard = fields.pop("speech", None)
            speech = None if heard is None else Speech.of(heard)
            manifest = cls(**fields, end_tokens=ends, stages=stages, rebuild=rebuild, speech=speech)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ArtifactUnusable(f"{MANIFEST} cannot be read: export the model again") from error
        _check(manifest)
        return manifest


def read_manifest(directory: Path) -> Manifest:
    """The manifest of the version in *directory*.

    Raises:
        ArtifactUnusable: there is none that can be read.
    """
    path = directory / MANIFEST
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise ArtifactUnusable(
            f"{directory} holds no {MANIFEST}: make it with penstock export"
        ) from error
    if len(content) > _MOST_BYTES:
        raise ArtifactUnusable(f"{path} is no manifest: it has more than {_MOST_BYTES} bytes")
    return Manifest.from_json(content.decode(errors="replace"))


def _check(manifest: Manifest) -> None:
    counts = ("context", "vocabulary", "width", "kv_heads", "head_size")
    wrong = [name for name in counts if not _is_count(getattr(manifest, name))]
    if not manifest.stages or wrong:
        what = ", ".join(wrong) or "stages"
        raise ArtifactUnusable(f"{MANIFEST}: {what} cannot be so: export the model again")
    speech = manifest.speech
    if speech is not None and (len(manifest.stages) > 1 or not _is_speech(speech, manifest)):
        raise ArtifactUnusable(f"{MANIFEST}: speech cannot be so: export the model again")
    for stage in manifest.stages:
        if Path(stage.artifact).name != stage.artifact or not _is_count(stage.layers):
            raise ArtifactUnusable(f"{MANIFEST}: stage {stage.artifact!r} cannot be so")


def _is_speech(speech: Speech, manifest: Manifest) -> bool:
    plain = Path(speech.artifact).name == speech.artifact
    return plain and speech.begin > 0 and speech.no_timestamps < manifest.vocabulary


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
