"""ONNX exports of optimum and onnxruntime-genai: our stages answer as the very files do."""

import shutil

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from support.exports.originals import Original, changed, products_of_bits
from support.language.blocks import PARTS, matrices
from support.language.computed import answers_of, logits_of

from penstock.exporting.checkpoints.opening import open_checkpoint
from penstock.exporting.export import Order, export
from penstock.exporting.graphs.matrices import Weights
from penstock.language.options import DecodingOptions

PROMPTS = ([5, 9, 77], [40, 3, 3, 3, 12, 200, 31, 8], [150], list(range(60, 72)))
TOKENS = 16
FLOATS = (
    *("optimum-llama3", "optimum-mistral", "optimum-qwen2", "optimum-qwen3", "optimum-one-each"),
    *("optimum-fused", "genai-llama", "genai-llama3", "genai-mistral", "genai-qwen3"),
    "genai-unfused",
)
BITS = (
    *("genai-int4-llama", "genai-int4-qwen2", "genai-int4-wide", "genai-int4-fine"),
    *("genai-int4-zeros", "genai-int8"),
)
ASKED = DecodingOptions(max_tokens=TOKENS, ignore_end=True)


def _export(folder, directory, stages=1, weights=Weights.FP32):
    heard = []
    manifest = export(
        folder, Order(directory, stages, weights=weights), lambda *_: None, heard.append
    )
    return manifest, heard


@pytest.mark.parametrize("name", FLOATS)
def test_stages_answer_as_the_file_itself_does(name, exports, tmp_path):
    manifest, heard = _export(exports / name, tmp_path / "1", stages=2)
    original = Original(exports / name)
    tokens = np.random.default_rng(1).integers(0, 272, manifest.context).tolist()

    apart = np.abs(logits_of(tmp_path / "1", tokens) - original.logits(tokens))
    answers = answers_of(tmp_path / "1", PROMPTS, ASKED)

    assert apart.max() < 2e-4
    for prompt, answer in zip(PROMPTS, answers, strict=True):
        plain, ahead = original.greedy(prompt, TOKENS)
        # Where two tokens are as likely to the last bits, either may come first.
        sure = next((n for n, gap in enumerate(ahead) if gap < 1e-3), TOKENS)
        assert sure > 2
        assert answer[:sure] == plain[:sure]
    assert manifest.rebuild == "prefill"
    assert heard == []


def test_halves_are_the_floats_that_they_stand_for(exports, tmp_path):
    """A graph of fp16 rounds each result; ours computes with its weights in fp32."""
    _export(exports / "optimum-halves", tmp_path / "1")
    tokens = PROMPTS[3]

    near = Original(exports / "optimum-halves").logits(tokens)
    exact = Original(exports / "genai-llama").logits(tokens)

    found = logits_of(tmp_path / "1", tokens)
    # The weights were drawn with 8 bits: halves hold them as they are.
    assert np.abs(found - exact).max() < 2e-4
    assert np.abs(found - near).max() < 0.02 * np.abs(exact).max()


def test_angles_may_be_an_operation_of_their_own(exports, tmp_path):
    """As genai writes it for other devices; its tables are halves there."""
    _export(exports / "genai-rotary", tmp_path / "1")
    exact = Original(exports / "genai-llama").logits(PROMPTS[3])

    assert np.abs(logits_of(tmp_path / "1", PROMPTS[3]) - exact).max() < 5e-3 * np.abs(exact).max()


def test_what_the_files_say_beside_weights_is_kept(exports, tmp_path):
    one, _ = _export(exports / "optimum-qwen3", tmp_path / "1")
    other, _ = _export(exports / "genai-qwen3", tmp_path / "2")

    assert (one.architecture, one.end_tokens, one.context) == ("qwen3", (0,), 128)
    assert (other.architecture, other.end_tokens, other.context) == ("qwen3", (0,), 128)
    assert one.defaults == other.defaults == {}


def test_a_window_ends_the_context(exports, tmp_path):
    for name in ("optimum-mistral", "genai-mistral"):
        manifest, _ = _export(exports / name, tmp_path / name)

        assert manifest.context == 32


def test_a_table_that_is_the_head_as_well_is_there_once(exports, tmp_path):
    heads = {}
    for name in ("optimum-qwen3", "genai-qwen3", "genai-llama3"):
        _export(exports / name, tmp_path / name, weights=Weights.INT8)
        graph = onnx.load(tmp_path / name / "shard-0.onnx", load_external_data=False).graph
        heads[name] = "head" in {one.name for one in graph.initializer}

    assert heads == {"optimum-qwen3": False, "genai-qwen3": False, "genai-llama3": True}


@pytest.mark.parametrize(("by", "is_tied"), [(0, True), (1, False)])
def test_a_head_that_is_written_beside_the_table_is_compared_with_it(
    by, is_tied, exports, tmp_path
):
    """As optimum writes it, turned round, where it does not find equal weights."""
    folder = shutil.copytree(exports / "optimum-qwen3", tmp_path / "1")

    def change(graph):
        (head,) = [node for node in graph.node if "logits" in node.output]
        (table,) = [one for one in graph.initializer if one.name == "model.embed_tokens.weight"]
        turned = numpy_helper.to_array(table).T.copy()
        turned[5, 260] += by
        graph.initializer.append(numpy_helper.from_array(turned, "twice"))
        head.input[1] = "twice"

    assert open_checkpoint(changed(folder, change)).architecture.tied == is_tied


@pytest.mark.parametrize("name", BITS)
def test_weights_of_4_bits_become_the_floats_that_they_stand_for(name, exports, tmp_path):
    _export(exports / name, tmp_path / "1")

    matrices = _floats(tmp_path / "1")
    for found, plain in _pairs(matrices, products_of_bits(exports / name)):
        assert np.array_equal(found, plain)


def _floats(directory):
    graph = onnx.load(directory / "shard-0.onnx").graph
    return {one.name: numpy_helper.to_array(one).T for one in graph.initializer}


def _pairs(ours, by_name):
    """Each of their matrices beside ours."""
    theirs = {name.rpartition("_Q")[0]: matrix for name, matrix in by_name.items()}
    for layer in range(2):
        prefix = f"model.layers.{layer}."
        packed = np.concatenate([ours[f"blk.{layer}.attn_{one}.weight"] for one in "qkv"])
        yield packed, theirs[f"{prefix}attn.qkv_proj.MatMul.weight"]
        yield (
            ours[f"blk.{layer}.attn_output.weight"],
            theirs[f"{prefix}attn.o_proj.MatMul.weight"],
        )
        for part in ("gate", "up", "down"):
            name = f"{prefix}mlp.{part}_proj.MatMul.weight"
            yield ours[f"blk.{layer}.ffn_{part}.weight"], theirs[name]
    yield ours["head"], theirs["lm_head.MatMul.weight"]


CARRIED = [
    *[(name, kind) for name in BITS[:3] for kind in (Weights.INT4, Weights.INT8)],
    ("genai-int4-zeros", Weights.INT8),
    ("genai-int8", Weights.INT8),
]


@pytest.mark.parametrize(("name", "kind"), CARRIED)
def test_blocks_that_fit_are_carried_over(name, kind, exports, tmp_path):
    _, heard = _export(exports / name, tmp_path / "1", weights=kind)

    ours = _our_blocks(tmp_path / "1")
    for found, plain in _pairs(ours, products_of_bits(exports / name)):
        assert np.array_equal(found, plain)
    assert heard == []


def _our_blocks(directory):
    parts = {theirs: ours for ours, theirs in PARTS.items()}
    found = {}
    for name, blocks in matrices([directory / "shard-0.onnx"]).items():
        rest = name.removeprefix("model.layers.")
        layer, _, part = rest.partition(".")
        part = part.removesuffix(".weight")
        whole = {"lm_head.weight": "head", "model.embed_tokens.weight": "table"}
        found[whole.get(name) or f"blk.{layer}.{parts[part]}.weight"] = blocks.values
    return {"head": found.get("table"), **found}


def test_blocks_that_do_not_fit_are_rounded_again_and_it_is_said(exports, tmp_path):
    _, fine = _export(exports / "genai-int4-fine", tmp_path / "1", weights=Weights.INT4)
    _, zeros = _export(exports / "genai-int4-zeros", tmp_path / "2", weights=Weights.INT4)
    _, bytes_ = _export(exports / "genai-int8", tmp_path / "3", weights=Weights.INT4)

    assert "genai-int4-fine has its weights in few bits" in fine[0]
    assert "--weights fp32" in zeros[0]  # a number less its zero point may have 5 bits
    assert "blk.0.attn_q.weight" in bytes_[0]


def test_answers_of_4_bits_are_those_of_the_file_itself(exports, tmp_path):
    """Both round what they multiply by; a half may be rounded otherwise."""
    folder = exports / "genai-int4-llama"  # its table has blocks, too
    _export(folder, tmp_path / "1", weights=Weights.INT4)
    original = Original(folder)

    found, plain = logits_of(tmp_path / "1", PROMPTS[3]), original.logits(PROMPTS[3])
    apart = np.abs(found - plain).max(-1)

    near = 0.06 * np.abs(plain).max()
    assert apart.max() < near
    assert apart.min() < 1e-4
    second, first = np.sort(plain, axis=-1)[:, -2:].T
    sure = first - second > near
    assert sure.any()
    assert (found.argmax(-1)[sure] == plain.argmax(-1)[sure]).all()
