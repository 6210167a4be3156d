"""From a checkpoint to a version of the model repository: stages, texts, manifest."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from penstock.exporting.checkpoints.checkpoint import Checkpoint, SpokenTexts
from penstock.exporting.checkpoints.opening import open_checkpoint
from penstock.exporting.cuts import cut
from penstock.exporting.errors import CannotExport
from penstock.exporting.graphs.graph import Graph, WeightsFile
from penstock.exporting.graphs.matrices import Source, Weights
from penstock.exporting.graphs.stage import StagePlan, StageWeights, write_stage
from penstock.exporting.whisper.architecture import Whisper
from penstock.exporting.whisper.graphs import write_decoder, write_encoder
from penstock.exporting.whisper.speech import ENCODER_FILE, ends_of, speech_of, without_times
from penstock.language.manifest import CHAT_TEMPLATE, MANIFEST, TOKENIZER, Manifest, StageFile
from penstock.language.rebuild import Rebuild
from penstock.language.tokenizer import Tokenizer
from penstock.models.config.language_models import DEFAULT_SLOTS, SLOTS
from penstock.models.config.model_config import LANGUAGE
from penstock.sharding.files import written_whole
from penstock.workers.loading.rebuild_trial import Proof, prove

Progress = Callable[[str, float], None]
"""Hears what is being done, and which share of all has been."""

Notice = Callable[[str], None]
"""Hears what whoever exports should know, though nothing is in the way."""

_CONFIGURATION: Final = f"""backend: "{LANGUAGE}"
model_transaction_policy {{ decoupled: true }}
# How many answers each worker computes at a time.
parameters {{ key: "{SLOTS}" value {{ string_value: "{DEFAULT_SLOTS}" }} }}
"""
_ROUNDED: Final = (
    "{file} has its weights in few bits, and {count} matrices, {first} the first, in other blocks "
    "than are written: these were rounded again. --weights fp32 keeps them as they are, and int8 "
    "comes closer than int4."
)
_MOST_CONTEXT: Final = 1 << 16
_OTHER_ARTIFACTS: Final = ("model.onnx", "model.pt2", "model.py")


@dataclass(frozen=True, slots=True)
class Order:
    """What to make.

    Attributes:
        directory: of the version, such as models/NAME/1.
        stages: how many.
        context: tokens that a sequence may have; None for the model's own.
        tokenizer: a tokenizer.json in place of the checkpoint's.
        weights: what its matrices become.
    """

    directory: Path
    stages: int = 1
    context: int | None = None
    tokenizer: Path | None = None
    weights: Weights = Weights.FP32


def _unheard(text: str) -> None:
    del text


def export(source: Path, order: Order, progress: Progress, notice: Notice = _unheard) -> Manifest:
    """Write the version that *order* wants from the checkpoint at *source*.

    All of it appears, or nothing. Holds one tensor of the checkpoint in memory at a time, twice;
    then the whole model, to try it.

    Raises:
        CannotExport: says what to do.
        CannotShard: the directory cannot be written.
    """
    progress("reading the checkpoint", 0.0)
    checkpoint = _with_context(open_checkpoint(source), order)
    content = _tokenizer_of(checkpoint, order)
    _check_directory(order.directory)
    manifest = _plan(checkpoint, order)
    shape, texts = checkpoint.architecture, checkpoint.texts
    if isinstance(shape, Whisper) and isinstance(texts, SpokenTexts):
        manifest, content = _with_speech(shape, texts, manifest, content)
    rounded: list[str] = []
    weights = _weights_of(checkpoint, order.weights, rounded)
    with written_whole(order.directory) as folder:
        manifest, stages = _write_encoder(folder, checkpoint, manifest), []
        for number, stage in enumerate(manifest.stages):
            progress(f"writing {stage.artifact}", (0.1 + number) / len(manifest.stages) * 0.8)
            stages.append(_write_stage(folder, checkpoint, stage, weights))
        manifest = replace(manifest, stages=tuple(stages))
        progress("trying what was written", 0.8)
        manifest = proved(manifest, prove(folder, manifest))
        for name, text in _texts(checkpoint, content, manifest):
            (folder / name).write_bytes(text)
        _remove_earlier(order.directory, folder)
    _write_configuration(order.directory)
    if rounded:
        notice(_ROUNDED.format(file=checkpoint.file, count=len(rounded), first=rounded[0]))
    return manifest


def _weights_of(checkpoint: Checkpoint, kind: Weights, rounded: list[str]) -> StageWeights:
    """Of *checkpoint*; *rounded* has the names of what must be rounded a second time in the end."""

    def hear(name: str) -> None:
        if checkpoint.is_rounded(name):
            rounded.append(name)

    return StageWeights(checkpoint.read, kind, Source(checkpoint.blocks, hear))


def proved(manifest: Manifest, proof: Proof) -> Manifest:
    """*manifest* with what was seen of the stages.

    Raises:
        CannotExport: their weights are rounded, and an answer could not go on elsewhere.
    """
    if proof.rebuild is Rebuild.NONE and manifest.weights != Weights.FP32:
        raise CannotExport(
            f"with {manifest.weights} weights this processor ({proof.proved_on}) computes rows "
            "otherwise beside others, so that answers would depend on load and on deaths of "
            "workers: export with --weights fp32, or on another processor"
        )
    return replace(manifest, rebuild=proof.rebuild, proved_on=proof.proved_on)


def _with_context(checkpoint: Checkpoint, order: Order) -> Checkpoint:
    """The checkpoint with the context that is asked for."""
    own = checkpoint.architecture.context
    wanted = min(own, _MOST_CONTEXT) if order.context is None else order.context
    if not 16 <= wanted <= own:
        raise CannotExport(
            f"the model has a context of {own} tokens: --context {wanted} cannot be (from 16)"
        )
    return replace(checkpoint, architecture=replace(checkpoint.architecture, context=wanted))


def _tokenizer_of(checkpoint: Checkpoint, order: Order) -> bytes:
    content = checkpoint.texts.tokenizer
    if order.tokenizer is not None:
        try:
            content = order.tokenizer.read_bytes()
        except OSError as error:
            raise CannotExport(f"{order.tokenizer} cannot be read: {error.strerror}") from error
    if content is None:
        raise CannotExport(
            f"{checkpoint.file} has no tokenizer that can be exported: give the model's own with "
            "--tokenizer tokenizer.json"
        )
    tokenizer = Tokenizer.from_json(content)
    if tokenizer.vocabulary > checkpoint.architecture.vocabulary:
        raise CannotExport(
            f"the tokenizer has {tokenizer.vocabulary} tokens, the model "
            f"{checkpoint.architecture.vocabulary}: they do not belong together"
        )
    return content


def _check_directory(directory: Path) -> None:
    for name in _OTHER_ARTIFACTS:
        if (directory / name).exists():
            raise CannotExport(
                f"{directory} holds {name}: remove it, or choose another version's directory"
            )


def _plan(checkpoint: Checkpoint, order: Order) -> Manifest:
    shape = checkpoint.architecture
    begins = cut([shape.layer_work] * shape.layers, shape.head_work, order.stages)
    ends = (*begins[1:], shape.layers)
    return Manifest(
        architecture=shape.name,
        context=shape.context,
        vocabulary=shape.vocabulary,
        width=shape.width,
        kv_heads=shape.kv_heads,
        head_size=shape.head_size,
        weights=order.weights.value,
        end_tokens=checkpoint.texts.end_tokens,
        defaults=dict(checkpoint.texts.defaults),
        template_variables=dict(checkpoint.texts.template_variables),
        stages=tuple(
            StageFile(
                artifact=f"shard-{number}.onnx",
                first_layer=begin,
                layers=end - begin,
                weight_bytes=0,
                token_work=(end - begin) * shape.layer_work
                + (shape.head_work if end == shape.layers else 0),
            )
            for number, (begin, end) in enumerate(zip(begins, ends, strict=True))
        ),
    )


def _with_speech(
    shape: Whisper, texts: SpokenTexts, manifest: Manifest, content: bytes
) -> tuple[Manifest, bytes]:
    """*manifest* of a model of speech, and its tokenizer.json."""
    if len(manifest.stages) > 1:
        raise CannotExport("a model of speech is exported in one stage: ask for --stages 1")
    if manifest.weights != Weights.FP32:
        raise CannotExport("the weights of a model of speech stay fp32: leave --weights out")
    tokenizer = Tokenizer.from_json(content)
    speech = speech_of(tokenizer, shape, texts)
    manifest = replace(manifest, speech=speech, end_tokens=ends_of(tokenizer, texts))
    return manifest, without_times(content, speech)


def _write_encoder(folder: Path, checkpoint: Checkpoint, manifest: Manifest) -> Manifest:
    """Write the encoder where the model has one; *manifest* with its size."""
    shape, speech = checkpoint.architecture, manifest.speech
    if speech is None or not isinstance(shape, Whisper):
        return manifest
    size = _written(
        folder, speech.artifact, lambda graph: write_encoder(graph, shape, checkpoint.read)
    )
    return replace(manifest, speech=replace(speech, weight_bytes=size))


def _write_stage(
    folder: Path, checkpoint: Checkpoint, stage: StageFile, weights: StageWeights
) -> StageFile:
    shape, read = checkpoint.architecture, checkpoint.read
    if isinstance(shape, Whisper):
        size = _written(folder, stage.artifact, lambda graph: write_decoder(graph, shape, read))
    else:
        plan = StagePlan(stage.first_layer, stage.first_layer + stage.layers)
        size = _written(
            folder,
            stage.artifact,
            lambda graph: write_stage(graph, plan, shape, weights),
        )
    return replace(stage, weight_bytes=size)


def _written(folder: Path, artifact: str, write: Callable[[Graph], None]) -> int:
    """Make an *artifact* of what *write* says; bytes of its weights, which lie beside it."""
    data = folder / f"{artifact}.data"
    with data.open("wb") as file:
        written = WeightsFile(data, file)
        graph = Graph(written)
        write(graph)
    (folder / artifact).write_bytes(graph.model().SerializeToString())
    return written.size


def _texts(
    checkpoint: Checkpoint, tokenizer: bytes, manifest: Manifest
) -> Iterator[tuple[str, bytes]]:
    yield MANIFEST, manifest.to_json().encode()
    yield TOKENIZER, tokenizer
    if checkpoint.texts.chat_template is not None:
        yield CHAT_TEMPLATE, checkpoint.texts.chat_template.encode()


def _write_configuration(directory: Path) -> None:
    """Beside a version of a repository, unless its owner has written one already."""
    config = directory.parent / "config.pbtxt"
    if directory.name.isascii() and directory.name.isdigit() and not config.exists():
        config.write_text(_CONFIGURATION)


def _remove_earlier(directory: Path, folder: Path) -> None:
    """An earlier export's chat template or encoder must not stay where the new one has none."""
    for name in (CHAT_TEMPLATE, ENCODER_FILE, f"{ENCODER_FILE}.data"):
        if not (folder / name).exists():
            (directory / name).unlink(missing_ok=True)
