"""Makes exports.tar.xz: tiny random models, exported by optimum and by onnxruntime-genai.

Not part of the tests, which run without these tools. It was run once so, in two environments, since
the tools want different releases of transformers:

    python -m venv first  && first/bin/pip install torch==2.13.0 transformers==4.57.6 \
        optimum==2.1.0 optimum-onnx==0.1.0 onnx==1.23.2 onnxruntime==1.32.0 accelerate
    python -m venv second && second/bin/pip install torch==2.13.0 'transformers>=5' \
        onnxruntime-genai==0.18.0 onnx_ir onnx==1.23.2 onnxruntime==1.32.0
    PYTHONPATH=tests first/bin/python tests/support/exports/make_exports.py \
        /tmp/exports first/bin second/bin
"""

import json
import subprocess
import sys
import tarfile
from pathlib import Path

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "head_dim": 16,
    "num_key_value_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
    "rope_theta": 1000.0,
    "eos_token_id": 0,
    "bos_token_id": 0,
}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
MODELS = {
    "llama": ("Llama", {"tie_word_embeddings": True}),
    "llama3": ("Llama", {"tie_word_embeddings": False, "rope_scaling": LLAMA3}),
    "mistral": ("Mistral", {"tie_word_embeddings": False, "sliding_window": 32}),
    "qwen2": ("Qwen2", {"tie_word_embeddings": False}),
    "qwen3": ("Qwen3", {"tie_word_embeddings": True}),
    "one-each": ("Llama", {"tie_word_embeddings": True, "num_key_value_heads": 4}),
    "gelu": ("Llama", {"tie_word_embeddings": True, "hidden_act": "gelu"}),
}
WITH_PAST = ("--task", "text-generation-with-past")
OPTIMUM = {
    "optimum-llama3": ("llama3", WITH_PAST),
    "optimum-mistral": ("mistral", WITH_PAST),
    "optimum-qwen2": ("qwen2", WITH_PAST),
    "optimum-qwen3": ("qwen3", WITH_PAST),
    "optimum-one-each": ("one-each", WITH_PAST),
    "optimum-fused": ("llama", (*WITH_PAST, "--optimize", "O2")),
    "optimum-halves": ("llama", (*WITH_PAST, "--dtype", "fp16", "--device", "cpu")),
    "optimum-uncached": ("llama", ("--task", "text-generation")),
    "optimum-gelu": ("gelu", WITH_PAST),
}
CPU = ("-e", "cpu")
GENAI = {
    "genai-llama": ("llama", "fp32", CPU),
    "genai-llama3": ("llama3", "fp32", CPU),
    "genai-mistral": ("mistral", "fp32", CPU),
    "genai-qwen3": ("qwen3", "fp32", CPU),
    "genai-unfused": ("qwen2", "fp32", (*CPU, "--extra_options", "fuse_qkv=false")),
    "genai-rotary": ("llama", "fp16", ("-e", "dml")),  # angles are an operation of their own
    "genai-int4-llama": ("llama", "int4", CPU),
    "genai-int4-qwen2": ("qwen2", "int4", CPU),
    "genai-int4-wide": ("qwen2", "int4", (*CPU, "--extra_options", "block_size=64")),
    "genai-int4-fine": ("qwen3", "int4", (*CPU, "--extra_options", "block_size=16")),
    # Not of a tied model: its table would lack its scales, and ONNX Runtime refuses it.
    "genai-int4-zeros": ("qwen2", "int4", (*CPU, "--extra_options", "is_symmetric=false")),
    "genai-int8": ("qwen3", "int8", CPU),
}
KEPT = (".onnx", ".onnx_data", ".data", "config.json", "tokenizer.json")


def write_models(folder):
    import torch
    import transformers
    from support.models.tiny_language import CHAT, SPECIAL, tokenizer

    library, vocabulary = tokenizer()
    for name, (kind, said) in MODELS.items():
        config = getattr(transformers, f"{kind}Config")
        # As of real models, a few more than the tokenizer has.
        sizes = {**SIZES, "vocab_size": len(vocabulary) + 3, **said}
        model = getattr(transformers, f"{kind}ForCausalLM")(config(**sizes)).eval()
        chance = torch.Generator().manual_seed(7)
        with torch.no_grad():
            for of, values in model.named_parameters():
                drawn = torch.randn(values.shape, generator=chance)
                scale = 0.25 if values.ndim == 1 else 1.5 / values.shape[-1] ** 0.5
                drawn = (drawn * scale + (1 if "norm" in of else 0)).bfloat16().float()
                values.copy_(drawn)
        model.save_pretrained(folder / name)
        turned = transformers.PreTrainedTokenizerFast(
            tokenizer_object=library, eos_token=SPECIAL[0], chat_template=CHAT
        )
        turned.save_pretrained(folder / name)


def main():
    folder, first, second = (Path(name) for name in sys.argv[1:])
    write_models(folder / "models")
    made = folder / "made"
    for name, (model, options) in OPTIMUM.items():
        command = [first / "optimum-cli", "export", "onnx", "-m", folder / "models" / model]
        subprocess.run([*command, *options, made / name], check=True)
    for name, (model, precision, extra) in GENAI.items():
        command = [second / "python", "-m", "onnxruntime_genai.models.builder"]
        options = ["-m", folder / "models" / model, "-o", made / name, "-p", precision]
        subprocess.run([*command, *options, *extra], check=True)
    with tarfile.open(Path(__file__).parent / "exports.tar.xz", "w:xz", preset=9) as archive:
        for path in sorted(made.rglob("*")):
            if path.is_file() and path.name.endswith(KEPT):
                if path.suffix == ".json":
                    path.write_text(json.dumps(json.loads(path.read_text())))
                archive.add(path, str(path.relative_to(made)), filter=_plain)


def _plain(entry):
    entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname = 0, 0, 0, "", ""
    return entry


if __name__ == "__main__":
    main()
