"""``penstock shard``: what it prints, and what it says when it cannot."""

import json
import shutil
import sys

import numpy as np
import pytest
from support.models.pipelines import Served, chain, value, write_onnx
from support.processes.commands import ROOT, invoke, spawn, too_wide

DIGITS = ROOT / "examples" / "digits" / "models" / "digits" / "1" / "model.onnx"


@pytest.fixture
def target(tmp_path):
    return tmp_path / "models" / "digits" / "1"


def complaint(*arguments):
    """The one line of a command that fails."""
    result = invoke("shard", *arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    return line


def test_a_table_shows_what_was_cut(target):
    result = invoke("shard", DIGITS, "--stages", 3, "-o", target)

    assert result.exit_code == 0, result.stderr
    assert [line.rstrip() for line in result.stdout.splitlines()] == [
        "stage   file           cut after        parameters       bytes   activations",
        "────────────────────────────────────────────────────────────────────────────",
        "0       shard-0.onnx   node_Reshape_7        4,802    18.8 KiB       2.0 KiB",
        "1       shard-1.onnx   node_linear          32,832   128.2 KiB         256 B",
        "2       shard-2.onnx   -                       650     2.5 KiB             -",
        "",
        "The stages answer exactly as the whole model does (batch sizes 1, 2, 5).",
        "Activations: what each item of a batch takes to the next stage.",
        f"Written to {target}",
    ]
    assert result.stderr == ""


def test_the_stages_answer_in_a_repository(target):
    invoke("shard", DIGITS, "-o", target)

    served = Served(target.parent.parent, "digits")

    answer = served.infer({"image": np.zeros((2, 1, 8, 8), np.float32)})
    assert {name: array.shape for name, array in answer.items()} == {
        "probabilities": (2, 10),
        "digit": (2, 1),
    }


def test_scripts_read_json(target):
    result = invoke("shard", DIGITS, "-o", target, "--json")

    report = json.loads(result.stdout)
    assert report["directory"] == str(target)
    assert report["verification"]["batch_sizes"] == [1, 2, 5]
    assert [stage["file"] for stage in report["stages"]] == ["shard-0.onnx", "shard-1.onnx"]
    assert report["stages"][0]["crossing_bytes"] == 2048
    assert report["stages"][1]["outputs"][0] == {
        "name": "probabilities",
        "datatype": "FP32",
        "shape": [-1, 10],
    }


def test_long_and_odd_names_stay_whole_within_80_columns(tmp_path):
    graph = chain("MatMul x a h", "MatMul h b y")
    graph.node[0].name = "/model/[red]encoder[/red]/layers.11/attention/self/query/MatMul"

    result = invoke("shard", write_onnx(tmp_path, graph), "-o", tmp_path / "1")

    cells = [line[23:48].strip() for line in result.stdout.splitlines()[2:6]]
    assert graph.node[0].name in "".join(cells)
    assert too_wide(result.stdout.replace(str(tmp_path), "")) == []


def test_without_a_batch_no_batch_is_spoken_of(tmp_path):
    graph = chain("MatMul x a h", "MatMul h b y", inputs=[value("x", shape=(1, 8))])

    result = invoke("shard", write_onnx(tmp_path, graph), "-o", tmp_path / "1")

    assert "The stages answer exactly as the whole model does.\n" in result.stdout
    assert "Activations: what a request takes to the next stage.\n" in result.stdout


def test_a_whole_model_in_the_same_folder_is_pointed_out(tmp_path):
    shutil.copy(DIGITS, tmp_path / "model.onnx")

    result = invoke("shard", tmp_path / "model.onnx", "-o", tmp_path)

    assert result.stdout.splitlines()[-1] == (
        "model.onnx is there, too: remove it, or this version cannot be served."
    )


def test_a_torch_module_is_named_by_its_factory(target):
    """The line of the example's own docstring."""
    factory = ("examples.digits.network:trained", "--input", "image=-1,1,8,8:FP32")

    result = spawn("shard", *factory, "-o", target)

    assert (result.returncode, result.stderr) == (0, "")
    assert "shard-0.pt2   strokes/max_pool2d        4,800" in result.stdout
    assert "(batch sizes 1, 2, 5)." in result.stdout
    assert too_wide(result.stdout.replace(str(target), "")) == []
    assert sorted(path.name for path in target.iterdir()) == ["shard-0.pt2", "shard-1.pt2"]


def test_what_the_module_prints_does_not_get_into_the_report(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.path", sys.path[:])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "talking_in_this_test.py").write_text(
        "from torch import nn\n"
        "class Talking(nn.Linear):\n"
        "    def forward(self, x):\n"
        "        print('forward')\n"
        "        return super().forward(x)\n"
        "def make():\n"
        "    print('made')\n"
        "    return Talking(8, 8)\n"
    )

    result = invoke(
        *("shard", "talking_in_this_test:make", "--stages", 1, "-o", tmp_path / "1"),
        *("--input", "x=-1,8", "--json"),
    )

    assert json.loads(result.stdout)["stages"][0]["parameters"] == 72
    assert "made" in result.stderr


class TestComplaints:
    @pytest.mark.parametrize(
        ("model", "words"),
        [
            ("nothing", "'nothing' is neither a file nor package.module:factory; give model.onnx"),
            ("gone.onnx", "there is no file gone.onnx: give an ONNX file"),
            ("gone.pt2", "there is no file gone.pt2"),
            ("missing_package:make", "cannot import missing_package: No module named"),
            ("math:pi", "math:pi is neither a torch.nn.Module nor a function that returns one"),
        ],
    )
    def test_of_models_that_are_not_there(self, tmp_path, monkeypatch, model, words):
        monkeypatch.setattr("sys.path", sys.path[:])

        assert words in complaint(model, "-o", tmp_path / "1")

    def test_of_programs_that_were_exported_whole(self, tmp_path):
        (tmp_path / "model.pt2").write_bytes(b"whatever")

        text = complaint(tmp_path / "model.pt2", "-o", tmp_path / "1")

        assert "cannot be cut; name the function that makes the module" in text

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (["--stages", "40"], "cannot cut this model into 40 stages"),
            (["--input", "picture=-1,8"], "--input 'picture': the model's inputs are image"),
            (["--input", "image"], "cannot read --input 'image': write --input name=shape"),
        ],
    )
    def test_of_what_the_model_cannot_do(self, tmp_path, options, words):
        assert words in complaint(DIGITS, "-o", tmp_path / "1", *options)

    def test_of_too_little_memory(self, tmp_path, monkeypatch):
        monkeypatch.setattr("sys.path", sys.path[:])
        monkeypatch.chdir(tmp_path)
        (tmp_path / "too_large_for_this_test.py").write_text("def make():\n    raise MemoryError\n")

        text = complaint("too_large_for_this_test:make", "-o", tmp_path / "1")

        assert "not enough memory: cutting needs about twice the model's size" in text

    @pytest.mark.parametrize(
        ("model", "without", "extra"),
        [(DIGITS, "onnx", "onnx"), (DIGITS, "onnxruntime", "onnx"), ("a:b", "torch", "torch")],
    )
    def test_of_missing_extras(self, tmp_path, model, without, extra):
        result = spawn("shard", model, "-o", tmp_path / "1", without=[without])

        assert (result.returncode, result.stdout) == (1, "")
        assert result.stderr.count("\n") == 1
        assert without in result.stderr
        assert f"pip install 'penstock[{extra}]'" in result.stderr

    @pytest.mark.parametrize("options", [[], ["--stages", "0"], ["--tolerance", "-1"]])
    def test_of_options_are_usage_errors(self, tmp_path, options):
        output = ["-o", tmp_path / "1"] if options else []

        result = invoke("shard", DIGITS, *output, *options)

        assert result.exit_code == 2
        assert "Usage: penstock shard" in result.stderr
