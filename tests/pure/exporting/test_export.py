import numpy as np
import pytest
from support.models import tiny_language
from support.models.reference_decoder import drawn, reference_of, uniform
from support.models.tiny_language import Shape, write_safetensors

from penstock.exporting.errors import CannotExport
from penstock.exporting.export import Order, export
from penstock.language.manifest import read_manifest
from penstock.language.options import DecodingOptions
from penstock.models.files.artifacts import stage_files
from penstock.protos.model_config_pb2 import ModelConfig
from penstock.workers.language.local import LocalModel

PROMPTS = ([5, 9, 77], [40, 3, 3, 3, 12, 200, 31, 8], [150], list(range(60, 100)))
TOKENS = 20
SHAPES = {
    "llama": Shape(),
    "one head of keys for each": Shape(heads=3, kv_heads=3),
    "all heads share keys": Shape(heads=4, kv_heads=1),
    "a head of its own": Shape(tied=False),
    "qwen2": Shape(biased=True),
    "qwen3": Shape(normed=True, kv_heads=3, tied=False),
}


def _export(source, directory, stages=1, **order):
    return export(source, Order(directory, stages, **order), lambda *_: None)


def _answers(directory, prompts, slots, **options):
    model = LocalModel.open(directory, slots, 128, threads=1)
    asked = DecodingOptions.of({"max_tokens": TOKENS, "ignore_end": True, **options})
    tokens = [[] for _ in prompts]
    for piece in model.generate(prompts, asked):
        tokens[piece.number].append(piece.token)
    return tokens


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_stages_answer_as_a_plain_decoder_does(shape, tmp_path):
    folder = tiny_language.write_folder(tmp_path / "checkpoint", shape)
    manifest = _export(folder, tmp_path / "model/1", stages=2)
    reference = reference_of(shape, tiny_language.weights(shape))
    expected = [reference.greedy(prompt, TOKENS) for prompt in PROMPTS]

    answers = _answers(tmp_path / "model/1", PROMPTS, slots=3)

    for answer, (tokens, ahead) in zip(answers, expected, strict=True):
        # Where two tokens are as likely to the last bits, either may come first.
        sure = next((n for n, gap in enumerate(ahead) if gap < 1e-4), TOKENS)
        assert sure > 2
        assert answer[:sure] == tokens[:sure]
    assert manifest.rebuild == "prefill"


def test_drawn_answers_are_those_of_a_plain_sampler(tmp_path):
    """As `make language-models` has it for a real model."""
    shape, seed, even = SHAPES["llama"], 7, 1e-4
    _export(tiny_language.write_folder(tmp_path / "checkpoint", shape), tmp_path / "model/1")
    reference = reference_of(shape, tiny_language.weights(shape))

    asked = {"temperature": 0.9, "top_p": 0.8, "seed": seed}
    answers = _answers(tmp_path / "model/1", PROMPTS, slots=4, **asked)

    for prompt, answer in zip(PROMPTS, answers, strict=True):
        rows = enumerate(reference.logits(prompt, answer))
        plain = [drawn(row, uniform(seed, at), 0.9, 0.8, even) for at, row in rows]
        sure = {at: token for at, (token, is_sure) in enumerate(plain) if is_sure}
        assert {at: answer[at] for at in sure} == sure
        assert len(sure) > TOKENS / 2


@pytest.fixture(scope="module")
def versions(tmp_path_factory):
    """Stages -> the directory of the same model in so many."""
    path = tmp_path_factory.mktemp("versions")
    folder = tiny_language.write_folder(path / "checkpoint")
    for stages in (1, 2, 3):
        _export(folder, path / f"{stages}", stages)
    return {stages: path / f"{stages}" for stages in (1, 2, 3)}


def test_the_number_of_stages_changes_no_token(versions):
    one, two, three = (_answers(version, PROMPTS, slots=4) for version in versions.values())

    assert one == two == three


def test_a_gguf_file_makes_the_same_stages_as_a_folder(versions, tmp_path):
    _export(tiny_language.write_gguf(tmp_path / "m.gguf"), tmp_path / "1", 2)

    for name in ("shard-0.onnx", "shard-0.onnx.data", "shard-1.onnx.data"):
        assert (tmp_path / "1" / name).read_bytes() == (versions[2] / name).read_bytes()
    assert read_manifest(tmp_path / "1").end_tokens == (tiny_language.END,)


def test_weights_in_several_files_are_the_same_weights(versions, tmp_path):
    _export(tiny_language.write_folder(tmp_path / "f", files=3), tmp_path / "1", 1)

    name = "shard-0.onnx.data"
    assert (tmp_path / "1" / name).read_bytes() == (versions[1] / name).read_bytes()


def test_bfloat16_is_the_upper_half_of_a_number(versions, tmp_path):
    folder = tiny_language.write_folder(tmp_path / "f")
    arrays = tiny_language.weights(Shape())
    halves = {name: (array.view(np.uint32) >> 16).astype("<u2") for name, array in arrays.items()}
    write_safetensors(folder / "model.safetensors", halves, "BF16")
    _export(folder, tmp_path / "1")

    name = "shard-0.onnx.data"
    assert (tmp_path / "1" / name).read_bytes() == (versions[1] / name).read_bytes()


def test_a_version_is_one_that_the_repository_knows(versions):
    files = stage_files(versions[3].parent, versions[3], ModelConfig())

    assert [stage.artifact.name for stage in files] == [f"shard-{n}.onnx" for n in range(3)]
    assert [[part.name for part in stage.files] for stage in files] == [
        [f"shard-{n}.onnx", f"shard-{n}.onnx.data"] for n in range(3)
    ]


def test_another_export_leaves_nothing_of_the_one_before(tmp_path):
    folder = tiny_language.write_folder(tmp_path / "f")
    _export(folder, tmp_path / "1", 3)
    (folder / "tokenizer_config.json").write_text("{}")
    _export(folder, tmp_path / "1", 2, context=64)

    assert sorted(path.name for path in (tmp_path / "1").iterdir()) == [
        *("language.json", "shard-0.onnx", "shard-0.onnx.data"),
        *("shard-1.onnx", "shard-1.onnx.data", "tokenizer.json"),
    ]
    assert read_manifest(tmp_path / "1").context == 64


def test_a_model_cannot_be_cut_into_more_stages_than_layers(tmp_path):
    folder = tiny_language.write_folder(tmp_path / "f")

    with pytest.raises(CannotExport, match="--stages 1 to 3"):
        _export(folder, tmp_path / "1", 4)

    assert not (tmp_path / "1").exists()


def test_a_context_beyond_the_models_own_is_refused(tmp_path):
    with pytest.raises(CannotExport, match="context of 128 tokens"):
        _export(tiny_language.write_folder(tmp_path / "f"), tmp_path / "1", context=129)


def test_a_version_beside_another_kind_of_artifact_is_not_written(tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "1/model.onnx").touch()

    with pytest.raises(CannotExport, match=r"holds model\.onnx"):
        _export(tiny_language.write_folder(tmp_path / "f"), tmp_path / "1")
