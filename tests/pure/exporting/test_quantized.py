"""Weights of 8 and 4 bits: stages compute what a plain decoder does with the same blocks."""

import gguf
import numpy as np
import pytest
from support.language.blocks import Blocks, matrices
from support.language.computed import answers_of, logits_of
from support.models import tiny_language
from support.models.reference_decoder import reference_of
from support.models.tiny_language import Shape

from penstock.exporting.errors import CannotExport
from penstock.exporting.export import Order, export, proved
from penstock.exporting.graphs.matrices import Weights, quantized
from penstock.language.manifest import read_manifest
from penstock.language.options import DecodingOptions
from penstock.language.rebuild import Rebuild
from penstock.workers.language.answer import Answer
from penstock.workers.language.engine import Engine
from penstock.workers.language.pipeline import Pipeline
from penstock.workers.loading.rebuild_trial import Proof

SIZES = {"width": 64, "heads": 4, "kv_heads": 2, "head_size": 16, "inner": 96}
SHAPES = {"tied": Shape(**SIZES), "a head of its own": Shape(**SIZES, tied=False)}
KINDS = (Weights.INT8, Weights.INT4)
PROMPTS = ([5, 9, 77], [40, 3, 3, 3, 12, 200, 31, 8], [150], list(range(60, 100)))
TOKENS = 20
ASKED = DecodingOptions(max_tokens=TOKENS, ignore_end=True)
ALIGNED = 4096


def _near(logits):
    """How far logits may be apart once a sum in another order has rounded a half otherwise."""
    return 0.06 * np.abs(logits).max()


@pytest.fixture(scope="module", params=SHAPES.values(), ids=SHAPES)
def shape(request):
    return request.param


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def exported(shape, kind, tmp_path_factory):
    """Stages -> the directory of the model in so many."""
    path = tmp_path_factory.mktemp(kind)
    folder = tiny_language.write_folder(path / "f", shape)
    for stages in (1, 2):
        order = Order(path / f"{stages}", stages, weights=kind)
        export(folder, order, lambda *_: None)
    return {stages: path / f"{stages}" for stages in (1, 2)}


def _reference(shape, directory, *, rounds=True):
    weights = tiny_language.weights(shape) | matrices(directory.glob("*.onnx"), rounds=rounds)
    return reference_of(shape, weights)


def test_logits_are_those_of_a_plain_decoder_with_the_same_blocks(shape, exported):
    tokens = PROMPTS[3]
    plain = _reference(shape, exported[1]).logits(tokens[:1], [*tokens[1:], 0])
    exact = _reference(shape, exported[1], rounds=False).logits(tokens[:1], [*tokens[1:], 0])

    found = logits_of(exported[1], tokens)

    apart = np.abs(found - plain).max(-1)
    assert apart.max() < _near(plain)
    # Where no half was rounded otherwise, as in the first rows, they are the same numbers.
    assert apart.min() < 1e-4
    # Rounding what weights are multiplied by costs as little as it should.
    assert np.abs(found - exact).mean() < 0.02 * np.abs(exact).max()


@pytest.mark.parametrize("stages", [1, 2])
def test_greedy_answers_are_those_of_a_plain_decoder(stages, shape, exported):
    reference = _reference(shape, exported[stages])

    compared = 0
    for prompt, answer in zip(PROMPTS, answers_of(exported[stages], PROMPTS, ASKED), strict=True):
        plain = reference.logits(prompt, answer)
        second, first = np.sort(plain, axis=-1)[:, -2:].T
        sure = first - second > _near(plain)
        assert (plain.argmax(-1)[sure] == np.array(answer)[sure]).all()
        compared += int(sure.sum())
    assert compared > TOKENS


def test_neither_stages_nor_neighbours_nor_threads_change_a_token(exported):
    one = answers_of(exported[1], PROMPTS, ASKED, slots=4)

    assert (
        answers_of(exported[2], PROMPTS, ASKED, slots=4)
        == answers_of(exported[2], PROMPTS, ASKED, slots=1)
        == one
    )
    assert answers_of(exported[1], PROMPTS, ASKED, slots=2, threads=2) == one


def test_an_answer_goes_on_elsewhere_from_any_token_of_its_log(exported):
    """As after a worker's death: prompt and log are read in whatever way was proved."""
    manifest = read_manifest(exported[2])
    assert manifest.rebuild is not Rebuild.NONE
    whole = answers_of(exported[2], PROMPTS, ASKED)[1]
    other = Pipeline.open(exported[2], manifest, 2, 128, threads=1)
    for count in range(TOKENS):
        engine = Engine(other, (), chunk=5, rebuild=manifest.rebuild)
        answer = Answer(list(PROMPTS[1]), ASKED, log=whole[:count])
        for one in (Answer([7], ASKED), answer):
            engine.admit(one)
        while not engine.is_idle:
            engine.step()

        assert answer.log == whole


def _bytes(shape, kind, layers, *, begins, ends):
    """Of the weights of a stage, each at the next multiple of 4,096."""
    width, queries = shape.width, shape.heads * shape.head_size
    keys, inner = shape.kv_heads * shape.head_size, shape.inner
    vocabulary = len(tiny_language.tokenizer()[1])
    matrix = [width * queries] * 2 + [width * keys] * 2 + [width * inner] * 3
    half = 2 if kind is Weights.INT4 else 1
    table = [vocabulary * width, vocabulary * width // 32 * 4]
    head = table if ends and not (begins and shape.tied) else []
    parts = [4 * shape.context * shape.head_size // 2] * 2
    parts += [4 * width] * (2 * layers + ends)
    parts += [size for n in matrix * layers for size in (n // half, n // 32 * 4)]
    parts += [*(table if begins else []), *head]
    return sum(-(-size // ALIGNED) * ALIGNED for size in parts)


def test_the_weights_take_as_many_bytes_as_they_have_bits(shape, kind, exported):
    for directory in exported.values():
        manifest = read_manifest(directory)
        last = len(manifest.stages) - 1
        for number, stage in enumerate(manifest.stages):
            expected = _bytes(shape, kind, stage.layers, begins=number == 0, ends=number == last)
            file = directory / f"{stage.artifact}.data"

            assert manifest.weights == kind
            assert file.stat().st_size == stage.weight_bytes
            assert 0 <= expected - stage.weight_bytes < ALIGNED


def test_numbers_come_back_within_half_a_step():
    rows = np.random.default_rng(3).standard_normal((40, 96)).astype(np.float32)
    rows[5] = 0
    for bits, most in ((8, 0.5), (4, 1.0)):
        numbers, scales = quantized(rows, bits)
        back = Blocks(numbers, scales).values
        steps = np.repeat(np.abs(scales), 32, axis=1)

        assert numbers.shape == (40, 3, 32 * bits // 8)
        # With 4 bits the far end has no number of its own: the largest has it, with its sign.
        assert (np.abs(back - rows) <= most * 1.001 * steps).all()
        assert (back[5] == 0).all()


@pytest.mark.parametrize(
    ("bits", "kind"),
    [(8, gguf.GGMLQuantizationType.Q8_0), (4, gguf.GGMLQuantizationType.Q4_0)],
    ids=["Q8_0", "Q4_0"],
)
def test_what_a_gguf_file_has_in_such_blocks_is_not_rounded_again(bits, kind):
    rows = np.random.default_rng(4).standard_normal((64, 256)).astype(np.float32)
    rows[3, :32] = 0
    there = gguf.quants.dequantize(gguf.quants.quantize(rows, kind), kind)

    back = Blocks(*quantized(there, bits)).values

    assert np.array_equal(back, there)
    assert not np.array_equal(back, rows)


def test_rows_that_are_no_blocks_are_refused(tmp_path):
    folder = tiny_language.write_folder(tmp_path / "f")

    with pytest.raises(CannotExport, match=r"rows of 24 numbers.*--weights fp32"):
        export(folder, Order(tmp_path / "1", weights=Weights.INT4), lambda *_: None)

    assert not (tmp_path / "1").exists()


def test_weights_that_make_an_answer_depend_on_others_are_refused(exported, kind):
    manifest = read_manifest(exported[1])

    with pytest.raises(CannotExport, match=rf"{kind} weights .*here.*--weights fp32"):
        proved(manifest, Proof(Rebuild.NONE, "here"))

    for rebuild in (Rebuild.PREFILL, Rebuild.REPLAY):
        assert proved(manifest, Proof(rebuild, "here")).rebuild is rebuild
