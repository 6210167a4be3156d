"""Hugging Face's folders of Whisper: config.json, safetensors, tokenizer.json, and advice."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from penstock.exporting.checkpoints.checkpoint import Checkpoint, SpokenTexts
from penstock.exporting.checkpoints.folder_config import JsonFile
from penstock.exporting.checkpoints.safetensors_files import SafetensorsFiles
from penstock.exporting.checkpoints.text_files import token_list, tokenizer_in
from penstock.exporting.checkpoints.weight_files import weight_files
from penstock.exporting.errors import Unsupported
from penstock.exporting.whisper.architecture import Whisper

ARCHITECTURE: Final = "WhisperForConditionalGeneration"

_FEATURES: Final = {"sampling_rate": 16_000, "n_fft": 400, "hop_length": 160}
"""Of preprocessor_config.json: what an encoder hears is computed so, and not otherwise."""


def is_whisper(config: JsonFile) -> bool:
    """Whether *config* is of a model of this layout."""
    return config.fields.get("architectures") == [ARCHITECTURE]


def open_whisper(folder: Path, config: JsonFile) -> Checkpoint:
    """The checkpoint in *folder*, whose config.json is *config*.

    Raises:
        CannotExport: it is incomplete or damaged, or has what the graphs would compute without.
    """
    _check_features(JsonFile.read_if_there(folder / "preprocessor_config.json"), config)
    files = SafetensorsFiles.open(weight_files(folder), folder.name)
    advice = JsonFile.read_if_there(folder / "generation_config.json")
    texts = SpokenTexts(
        tokenizer_in(folder),
        None,
        token_list(advice, config, "eos_token_id"),
        suppressed=token_list(advice, config, "suppress_tokens"),
        suppressed_first=token_list(advice, config, "begin_suppress_tokens"),
    )
    architecture = _architecture(config, advice.fields)
    return Checkpoint(folder.name, architecture, texts, files.shapes, files.read)


def _architecture(config: JsonFile, advice: Mapping[str, Any]) -> Whisper:
    if config.fields.get("activation_function", "gelu") != "gelu":
        raise Unsupported(
            f"{config.name}: activation_function is {config.fields['activation_function']!r}"
        )
    if config.fields.get("scale_embedding", False) is not False:
        raise Unsupported(f"{config.name}: scale_embedding")
    if config.fields.get("tie_word_embeddings", True) is not True:
        raise Unsupported(f"{config.name}: a head that is not the table of the embeddings")

    def number(name: str) -> int:
        return int(config.number(name))

    multilingual = advice.get("is_multilingual")
    return Whisper(
        layers=number("decoder_layers"),
        encoder_layers=number("encoder_layers"),
        width=number("d_model"),
        heads=number("decoder_attention_heads"),
        encoder_heads=number("encoder_attention_heads"),
        inner=number("decoder_ffn_dim"),
        encoder_inner=number("encoder_ffn_dim"),
        vocabulary=number("vocab_size"),
        context=number("max_target_positions"),
        mels=number("num_mel_bins"),
        positions=number("max_source_positions"),
        multilingual=multilingual if isinstance(multilingual, bool) else None,
    )


def _check_features(features: JsonFile, config: JsonFile) -> None:
    """Refuse a spectrum that is computed in another way."""
    wanted = {**_FEATURES, "feature_size": config.number("num_mel_bins")}
    for name, value in wanted.items():
        if features.number(name, value) != value:
            raise Unsupported(
                f"{features.name}: {name} is {features.fields[name]!r}", f"read is {value:.0f}"
            )
