"""A tiny random model of the Llama family, as a Hugging Face folder and as a GGUF file.

Both have the same weights: nothing is trained, and all follows from a seed.
"""

import json
from dataclasses import dataclass, field

import numpy as np

CHAT = (
    "{% if tools %}{{ tools | map(attribute='function.name') | join(',') }}<|end|>{% endif %}"
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}"
    "{% for call in message.tool_calls %}{{ call.function.arguments | tojson }}{% endfor %}"
    "<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ("<|end|>", "<|user|>", "<|assistant|>")
MERGES = ("h e", "l l", "he ll", "hell o", "Ġ w", "o r", "Ġw or", "Ġ t", "Ġt he", "i n")
END = 0


@dataclass(frozen=True)
class Shape:
    """Numbers of the architecture; those of Llama unless it says otherwise."""

    layers: int = 3
    heads: int = 6
    kv_heads: int = 2
    head_size: int = 8
    inner: int = 40
    context: int = 128
    tied: bool = True
    biased: bool = False
    normed: bool = False
    seed: int = 7
    width: int = 24
    extra: dict = field(default_factory=dict)

    @property
    def name(self):
        return "Qwen3ForCausalLM" if self.normed else "LlamaForCausalLM"


def tokenizer():
    """Byte-level BPE: three special tokens, all bytes, and a few merges."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merged = [merge.replace(" ", "") for merge in MERGES]
    vocabulary = [*SPECIAL, *letters, *merged]
    pairs = [tuple(merge.split(" ")) for merge in MERGES]
    library = Tokenizer(models.BPE({text: n for n, text in enumerate(vocabulary)}, pairs))
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = decoders.ByteLevel()
    library.add_special_tokens(list(SPECIAL))
    return library, vocabulary


def weights(shape):
    """Name in a Hugging Face folder -> float32 array."""
    chance = np.random.default_rng(shape.seed)
    _, vocabulary = tokenizer()
    width, queries = shape.width, shape.heads * shape.head_size
    keys = shape.kv_heads * shape.head_size

    def matrix(*size):
        # As bfloat16 has them, so that each file format holds the same numbers.
        values = chance.normal(0, 1.5 / size[-1] ** 0.5, size).astype(np.float32)
        return (values.view(np.uint32) & 0xFFFF0000).view(np.float32)

    def ones(size):
        return (1 + chance.integers(-8, 8, size) / 32).astype(np.float32)

    found = {"model.embed_tokens.weight": matrix(len(vocabulary), width)}
    for layer in range(shape.layers):
        prefix = f"model.layers.{layer}."
        found |= {
            f"{prefix}input_layernorm.weight": ones(width),
            f"{prefix}post_attention_layernorm.weight": ones(width),
            f"{prefix}self_attn.q_proj.weight": matrix(queries, width),
            f"{prefix}self_attn.k_proj.weight": matrix(keys, width),
            f"{prefix}self_attn.v_proj.weight": matrix(keys, width),
            f"{prefix}self_attn.o_proj.weight": matrix(width, queries),
            f"{prefix}mlp.gate_proj.weight": matrix(shape.inner, width),
            f"{prefix}mlp.up_proj.weight": matrix(shape.inner, width),
            f"{prefix}mlp.down_proj.weight": matrix(width, shape.inner),
        }
        if shape.biased:
            for part, size in (("q", queries), ("k", keys), ("v", keys)):
                found[f"{prefix}self_attn.{part}_proj.bias"] = matrix(size)
        if shape.normed:
            for part in "qk":
                found[f"{prefix}self_attn.{part}_norm.weight"] = ones(shape.head_size)
    found["model.norm.weight"] = ones(width)
    if not shape.tied:
        found["lm_head.weight"] = matrix(len(vocabulary), width)
    return found


def config(shape):
    """config.json."""
    return {
        "architectures": [shape.name],
        "hidden_size": shape.width,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_size,
        "intermediate_size": shape.inner,
        "vocab_size": len(tokenizer()[1]),
        "max_position_embeddings": shape.context,
        "rms_norm_eps": 1e-5,
        "rope_theta": 1000.0,
        "hidden_act": "silu",
        "eos_token_id": END,
        **shape.extra,
    }


def write_folder(folder, shape=None, files=1):
    """A Hugging Face folder, its weights in one file or several."""
    from safetensors.numpy import save_file

    shape = shape or Shape()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config(shape)))
    (folder / "tokenizer.json").write_text(tokenizer()[0].to_str())
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": CHAT}))
    found = weights(shape)
    if files == 1:
        save_file(found, folder / "model.safetensors")
        return folder
    names = sorted(found)
    places = {name: f"model-{n % files}.safetensors" for n, name in enumerate(names)}
    for file in set(places.values()):
        save_file({n: found[n] for n in names if places[n] == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    return folder


def write_safetensors(path, arrays, kind):
    """A safetensors file of arrays of one kind, byte by byte: "BF16" is none of numpy's."""
    header, begin = {}, 0
    for name, array in arrays.items():
        ends = begin + array.nbytes
        header[name] = {"dtype": kind, "shape": array.shape, "data_offsets": [begin, ends]}
        begin = ends
    text = json.dumps(header).encode()
    parts = (len(text).to_bytes(8, "little"), text, *(array.tobytes() for array in arrays.values()))
    path.write_bytes(b"".join(parts))


_PARTS = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def write_gguf(path, shape=None):
    """A GGUF file, as llama.cpp's converter would write it: rotary pairs beside each other."""
    import gguf

    shape = shape or Shape()
    _, vocabulary = tokenizer()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.inner)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(shape.head_size)
    writer.add_value_length(shape.head_size)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(1000.0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(vocabulary)
    writer.add_token_types([3] * len(SPECIAL) + [1] * (len(vocabulary) - len(SPECIAL)))
    writer.add_token_merges(list(MERGES))
    writer.add_eos_token_id(END)
    writer.add_chat_template(CHAT)
    for name, array in weights(shape).items():
        writer.add_tensor(*_as_gguf(name, array, shape))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _as_gguf(name, array, shape):
    whole = {
        "model.embed_tokens.weight": "token_embd.weight",
        "model.norm.weight": "output_norm.weight",
        "lm_head.weight": "output.weight",
    }
    if name in whole:
        return whole[name], array
    layer, _, part = name.removeprefix("model.layers.").partition(".")
    part, _, kind = part.rpartition(".")
    if part in ("self_attn.q_proj", "self_attn.k_proj"):
        halves = array.reshape(-1, 2, shape.head_size // 2, *array.shape[1:])
        array = np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(array.shape)
    return f"blk.{layer}.{_PARTS[part]}.{kind}", array
