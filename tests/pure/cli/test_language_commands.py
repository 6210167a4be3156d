"""``penstock export`` and ``penstock generate``: what they print, and say when they cannot."""

import json
import re

import pytest
from support.models import tiny_language
from support.processes.commands import invoke, too_wide


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return tiny_language.write_folder(tmp_path_factory.mktemp("commands") / "tiny")


@pytest.fixture(scope="module")
def version(checkpoint):
    version = checkpoint.parent / "models/tiny/1"
    assert invoke("export", checkpoint, "-o", version, "--json").exit_code == 0
    return version


def complaint(*arguments):
    """The one line of a command that fails."""
    result = invoke(*arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    return line


def test_a_table_shows_the_stages(checkpoint, tmp_path):
    result = invoke("export", checkpoint, "--stages", 2, "-o", tmp_path / "1")

    assert result.exit_code == 0, result.stderr
    lines = [line.rstrip() for line in result.stdout.splitlines()]
    assert [lines[0].split(), lines[2].split()[:3], lines[3].split()[:3]] == [
        ["stage", "file", "layers", "bytes", "work"],
        ["0", "shard-0.onnx", "0-1"],
        ["1", "shard-1.onnx", "2-2"],
    ]
    assert lines[5] == "A lost cache comes back equal to the bit when its tokens are read again."
    assert lines[-1] == f"Written to {tmp_path / '1'}"
    assert not too_wide(result.stdout.replace(str(tmp_path), ""))
    assert result.stderr == ""


def test_a_checkpoint_that_is_not_there_is_said(tmp_path):
    line = complaint("export", tmp_path / "nothing.gguf", "-o", tmp_path / "1")

    assert line.startswith(f"penstock: there is no {tmp_path}/nothing.gguf: give a GGUF file, ")
    assert "Hugging Face folder" in line
    assert "ONNX export" in line


def test_weights_of_few_bits_are_exported_and_served(tmp_path):
    shape = tiny_language.Shape(width=64, heads=4, head_size=16, inner=96)
    checkpoint = tiny_language.write_folder(tmp_path / "f", shape)
    version = tmp_path / "models/tiny/1"
    shown = invoke("export", checkpoint, "--weights", "int4", "--stages", 2, "-o", version)
    answer = invoke("generate", "hello", "--local", version, "--max-tokens", 3)

    assert shown.exit_code == answer.exit_code == 0, shown.stderr + answer.stderr
    assert "Weights int4; context 128 tokens" in shown.stdout
    assert json.loads((version / "language.json").read_text())["weights"] == "int4"
    assert invoke("check", tmp_path / "models").exit_code == 0


def test_weights_that_there_are_not_are_refused_before_anything_is_read(tmp_path):
    line = complaint("export", tmp_path / "m.gguf", "-o", tmp_path / "1", "--weights", "int3")

    assert line == "penstock: --weights int3: it is one of fp32, int8, int4"


def test_answers_share_steps_and_come_in_their_order(version):
    prompts = ["hello", "the world", "a"]
    arguments = ("--local", version, "--max-tokens", 6, "-O", "ignore_end=true")
    together = invoke("generate", *prompts, *arguments, "--json")
    alone = [invoke("generate", prompt, *arguments, "--json").stdout for prompt in prompts]

    assert together.exit_code == 0, together.stderr
    assert together.stdout == "".join(alone)
    answers = [json.loads(line) for line in together.stdout.splitlines()]
    assert [len(answer["tokens"]) for answer in answers] == [6, 6, 6]
    # The chat template's own tokens are counted.
    assert [answer["prompt_tokens"] for answer in answers] == [4, 8, 4]


def test_text_is_printed_as_it_comes_and_stop_strings_end_it(version):
    arguments = ("generate", "hello", "--local", version, "--max-tokens", 8, "--raw")
    whole = invoke(*arguments, "-O", "ignore_end=true").stdout.removesuffix("\n")
    stop = whole[3:5]
    stopped = invoke(*arguments, "-O", "ignore_end=true", "-O", f"stop={json.dumps(stop)}")

    assert stopped.stdout == whole[: whole.index(stop)] + "\n"


def test_the_same_seed_draws_the_same_answer_and_another_a_different_one(version):
    arguments = ("generate", "hello", "--local", version, "--max-tokens", 20, "-O", "temperature=5")
    one, again, other = (
        invoke(*arguments, "-O", f"seed={seed}", "--json").stdout for seed in (1, 1, 2)
    )

    assert one == again != other


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-O", "temprature=1"), "unknown option 'temprature'"),
        (("-O", "temperature"), "'temperature' must be NAME=VALUE"),
        (("-O", "top_p=2"), "top_p must be a number"),
    ],
)
def test_options_that_cannot_be_are_refused_before_anything_is_loaded(arguments, message, tmp_path):
    assert message in complaint("generate", "x", "--local", tmp_path, *arguments)


def test_a_prompt_beyond_the_context_is_refused(version):
    line = complaint("generate", "x" * 200, "--local", version)

    assert "there is room for 128" in line


def test_a_directory_without_a_language_model_is_refused(tmp_path):
    assert "make it with penstock export" in complaint("generate", "x", "--local", tmp_path)


def test_each_stage_of_a_version_is_checked(checkpoint, tmp_path):
    version = tmp_path / "tiny/1"
    invoke("export", checkpoint, "--stages", 3, "-o", version)
    whole = invoke("check", tmp_path)
    (version / "shard-1.onnx").write_bytes((version / "shard-2.onnx").read_bytes())
    broken = invoke("check", tmp_path)

    assert whole.exit_code == 0, whole.stdout
    assert "shard-1.onnx is not the stage that the manifest describes" in " ".join(
        broken.stdout.split()
    )


def test_an_answer_may_have_a_structure(version):
    structured = 'structured_outputs={"regex": "[ab]{3}-[0-9]"}'
    result = invoke("generate", "hello", "--local", version, "-O", structured)
    line = complaint("generate", "a", "--local", version, "-O", structured.replace("]{3", "{3"))

    assert re.fullmatch("[ab]{3}-[0-9]", result.stdout.strip()), result.stderr
    assert "invalid regex" in line
