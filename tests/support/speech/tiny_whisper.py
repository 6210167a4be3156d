"""A tiny random model of Whisper's layout: a Hugging Face folder, and one of CTranslate2.

Both have the same weights, and all follows from a seed. A window is one second.
"""

import json
import struct
from dataclasses import dataclass

import numpy as np

WORDS = ("Ġthe", "Ġworld", "hello", "in", "Ġw")
LANGUAGES = ("en", "de", "fr")
SPECIAL = (
    *("<|endoftext|>", "<|startoftranscript|>"),
    *(f"<|{code}|>" for code in LANGUAGES),
    *("<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>"),
    *("<|nospeech|>", "<|notimestamps|>"),
)
MERGES = ("h e", "l l", "he ll", "hell o", "Ġ w", "o r", "Ġw or", "Ġ t", "Ġt he", "i n")


@dataclass(frozen=True)
class Shape:
    """Numbers of the architecture."""

    layers: int = 2
    encoder_layers: int = 2
    width: int = 32
    heads: int = 4
    encoder_heads: int = 2
    inner: int = 64
    encoder_inner: int = 48
    context: int = 64
    mels: int = 80
    positions: int = 50
    multilingual: bool = True
    seed: int = 3

    @property
    def seconds(self):
        return self.positions / 50


def tokenizer(shape):
    """Byte-level BPE, then tokens that are no words, then timestamps, which are not "special"."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = [*letters, *(merge.replace(" ", "") for merge in MERGES)]
    pairs = [tuple(merge.split(" ")) for merge in MERGES]
    library = Tokenizer(models.BPE({text: n for n, text in enumerate(vocabulary)}, pairs))
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = decoders.ByteLevel()
    library.add_special_tokens(list(SPECIAL))
    times = [f"<|{n * 0.02:.2f}|>" for n in range(shape.positions + 1)]
    library.add_tokens([AddedToken(time, special=False) for time in times])
    return library


def token(shape, name):
    """The token that is written *name*."""
    return tokenizer(shape).token_to_id(name)


def weights(shape):
    """Name in a Hugging Face folder -> float32 array, whose numbers float16 has as well."""
    chance, found, width = np.random.default_rng(shape.seed), {}, shape.width

    def add(name, *size, biased=True, scale=1.5):
        matrix = chance.normal(0, scale / np.prod(size[1:]) ** 0.5, size)
        found[f"{name}.weight"] = matrix.astype(np.float16).astype(np.float32)
        if biased:
            bias = chance.normal(0, 0.3, size[0])
            found[f"{name}.bias"] = bias.astype(np.float16).astype(np.float32)

    def norm(name):
        found[f"{name}.weight"] = (1 + chance.integers(-8, 8, width) / 32).astype(np.float32)
        found[f"{name}.bias"] = (chance.integers(-8, 8, width) / 32).astype(np.float32)

    def attention(name):
        norm(f"{name}_layer_norm")
        for part in "qkv":
            add(f"{name}.{part}_proj", width, width, biased=part != "k")
        add(f"{name}.out_proj", width, width)

    def layer(prefix, inner):
        attention(f"{prefix}self_attn")
        add(f"{prefix}fc1", inner, width)
        add(f"{prefix}fc2", width, inner)
        norm(f"{prefix}final_layer_norm")

    add("model.encoder.conv1", width, shape.mels, 3, scale=4)
    add("model.encoder.conv2", width, width, 3)
    add("model.encoder.embed_positions", shape.positions, width, biased=False)
    for number in range(shape.encoder_layers):
        layer(f"model.encoder.layers.{number}.", shape.encoder_inner)
    norm("model.encoder.layer_norm")
    add("model.decoder.embed_tokens", tokenizer(shape).get_vocab_size(), width, biased=False)
    add("model.decoder.embed_positions", shape.context, width, biased=False)
    for number in range(shape.layers):
        layer(f"model.decoder.layers.{number}.", shape.inner)
        attention(f"model.decoder.layers.{number}.encoder_attn")
    norm("model.decoder.layer_norm")
    return found


def suppressed(shape):
    """Tokens that never come, and those that are not first."""
    library = tokenizer(shape)
    return [library.token_to_id("("), library.token_to_id(")")], [
        library.token_to_id("Ġ"),
        library.token_to_id("<|endoftext|>"),
    ]


def write_folder(folder, shape=None):
    """A Hugging Face folder."""
    from safetensors.numpy import save_file

    shape = shape or Shape()
    folder.mkdir(parents=True, exist_ok=True)
    library, (never, never_first) = tokenizer(shape), suppressed(shape)
    config = {
        "architectures": ["WhisperForConditionalGeneration"],
        "activation_function": "gelu",
        "d_model": shape.width,
        "decoder_layers": shape.layers,
        "encoder_layers": shape.encoder_layers,
        "decoder_attention_heads": shape.heads,
        "encoder_attention_heads": shape.encoder_heads,
        "decoder_ffn_dim": shape.inner,
        "encoder_ffn_dim": shape.encoder_inner,
        "vocab_size": library.get_vocab_size(),
        "max_target_positions": shape.context,
        "max_source_positions": shape.positions,
        "num_mel_bins": shape.mels,
    }
    advice = {
        "eos_token_id": library.token_to_id("<|endoftext|>"),
        "suppress_tokens": never,
        "begin_suppress_tokens": never_first,
        "is_multilingual": shape.multilingual,
    }
    features = {"feature_size": shape.mels, "sampling_rate": 16000, "n_fft": 400, "hop_length": 160}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "generation_config.json").write_text(json.dumps(advice))
    (folder / "preprocessor_config.json").write_text(json.dumps(features))
    (folder / "tokenizer.json").write_text(library.to_str())
    save_file(weights(shape), folder / "model.safetensors")
    return folder


def write_ctranslate2(folder, shape=None, kind=4, **other):
    """CTranslate2's folder, of tensors of this *kind*: 4 is float16, 0 float32, 1 int8.

    *other*: numbers of its decoder that are not Whisper's.
    """
    shape = shape or Shape()
    folder.mkdir(parents=True, exist_ok=True)
    never, never_first = suppressed(shape)
    config = {"suppress_ids": never, "suppress_ids_begin": never_first}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text(tokenizer(shape).to_str())
    number = {0: "<f4", 1: "<i1", 4: "<f2"}[kind]
    tensors = [(name, kind, array.astype(number)) for name, array in _ctranslate2(shape)]
    flags = {"activation": 3, "alibi": 0, "pre_norm": 1, "scale_embeddings": 0}
    for name, flag in {**flags, "start_from_zero_embedding": 0, **other}.items():
        tensors.append((f"decoder/{name}", 1, np.array(flag, "<i1")))
    for side, heads in (("encoder", shape.encoder_heads), ("decoder", shape.heads)):
        tensors.append((f"{side}/num_heads", 2, np.array(heads, "<i2")))
    parts = [struct.pack("<I", 6), _text("WhisperSpec"), struct.pack("<II", 3, len(tensors))]
    for name, code, array in tensors:
        parts += [_text(name), struct.pack("<B", array.ndim)]
        parts += [struct.pack("<I", size) for size in array.shape]
        parts += [struct.pack("<BI", code, array.nbytes), array.tobytes()]
    (folder / "model.bin").write_bytes(b"".join(parts))
    return folder


def _text(text):
    content = text.encode() + b"\0"
    return struct.pack("<H", len(content)) + content


def _ctranslate2(shape):
    """Names and arrays of its file."""
    found = weights(shape)
    for number in (1, 2):
        yield from _plain(found, f"model.encoder.conv{number}", f"encoder/conv{number}")
    yield "decoder/embeddings/weight", found["model.decoder.embed_tokens.weight"]
    for side, layers in (("encoder", shape.encoder_layers), ("decoder", shape.layers)):
        positions = found[f"model.{side}.embed_positions.weight"]
        yield f"{side}/position_encodings/encodings", positions
        yield from _plain(found, f"model.{side}.layer_norm", f"{side}/layer_norm", _NORM)
        for layer in range(layers):
            ours, theirs = f"model.{side}.layers.{layer}.", f"{side}/layer_{layer}/"
            yield from _ctranslate2_layer(found, ours, theirs)
            if side == "decoder":
                yield from _ctranslate2_cross(found, f"{ours}encoder_attn", f"{theirs}attention")


_NORM = ("gamma", "beta")


def _ctranslate2_layer(found, ours, theirs):
    own = f"{theirs}self_attention"
    yield from _plain(found, f"{ours}self_attn_layer_norm", f"{own}/layer_norm", _NORM)
    yield from _fused(found, f"{ours}self_attn", f"{own}/linear_0", "qkv")
    yield from _plain(found, f"{ours}self_attn.out_proj", f"{own}/linear_1")
    yield from _plain(found, f"{ours}final_layer_norm", f"{theirs}ffn/layer_norm", _NORM)
    for number in (0, 1):
        yield from _plain(found, f"{ours}fc{number + 1}", f"{theirs}ffn/linear_{number}")


def _ctranslate2_cross(found, ours, theirs):
    yield from _plain(found, f"{ours}_layer_norm", f"{theirs}/layer_norm", _NORM)
    yield from _plain(found, f"{ours}.q_proj", f"{theirs}/linear_0")
    yield from _fused(found, ours, f"{theirs}/linear_1", "kv")
    yield from _plain(found, f"{ours}.out_proj", f"{theirs}/linear_2")


def _plain(found, ours, theirs, kinds=("weight", "bias")):
    for kind, name in zip(("weight", "bias"), kinds, strict=True):
        yield f"{theirs}/{name}", found[f"{ours}.{kind}"]


def _fused(found, ours, theirs, parts):
    """Queries, keys and values behind each other; keys have the bias 0."""
    zeros = np.zeros_like(found[f"{ours}.v_proj.bias"])
    for kind, none in (("weight", None), ("bias", zeros)):
        arrays = [found.get(f"{ours}.{part}_proj.{kind}", none) for part in parts]
        yield f"{theirs}/{kind}", np.concatenate(arrays)
