"""``penstock infer`` against a server that answers each input with itself."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from support.servers.echo_server import running
from typer.testing import CliRunner

from penstock.cli.app import build


@pytest.fixture(scope="module")
def url():
    with running() as address:
        yield address


@pytest.fixture
def infer(url):
    """Runs the command in this process; the parsed JSON, or what it complains of."""

    def run(model, *inputs, options=(), stdin=None):
        words = ["infer", model, "--url", url, "--json", *options]
        for one in inputs:
            words += ["--input", one]
        ended = CliRunner().invoke(build(words), words, input=stdin)
        if ended.exit_code == 0:
            return json.loads(ended.stdout)
        assert ended.exit_code == 1, ended.output
        return ended.stderr

    return run


def data(answer, name="x"):
    return answer["outputs"][name]["data"]


@pytest.mark.parametrize(
    ("model", "written", "expected"),
    [
        ("x:FP32:-1,2", "x=[[1, 2.5]]", [[1.0, 2.5]]),
        ("x:FP32:-1,2", "x=[1, 2.5]", [[1.0, 2.5]]),
        ("x:FP32:-1,2", "[1, 2]", [[1.0, 2.0]]),
        ("x:INT8:2", "x=[1, -2]", [1, -2]),
        ("x:INT64:", "x=3", 3),
        ("x:BOOL:2", "x=[true, false]", [True, False]),
        ("x:BF16:1", "x=[3.1415926]", [3.140625]),
        ("x:BYTES:-1,1", 'x=["ä"]', [["ä"]]),
        ("x:BYTES:1", "x=plain text", "plain text"),
    ],
)
def test_json_becomes_what_the_model_wants(infer, model, written, expected):
    assert data(infer(model, written)) == expected


def test_several_inputs_are_told_apart_by_name(infer):
    answer = infer("a:INT32:1;b:FP32:1", "b=[0.5]", "a=[7]")

    assert (data(answer, "a"), data(answer, "b")) == ([7], [0.5])


def test_arrays_and_json_are_read_from_files(infer, tmp_path):
    np.save(tmp_path / "x.npy", np.array([[1.5, 2.5]]))
    (tmp_path / "x.json").write_text("[[1.5, 2.5]]")

    for name in ("x.npy", "x.json"):
        assert data(infer("x:FP32:-1,2", f"x=@{tmp_path / name}")) == [[1.5, 2.5]]


def test_standard_input_is_read_for_a_dash(infer):
    assert data(infer("x:FP32:-1,2", "x=@-", stdin="[1, 2]")) == [[1.0, 2.0]]


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        ("x:FP32:-1,1,8,8", (1, 1, 8, 8)),
        ("x:FP32:-1,3,4,4", (1, 3, 4, 4)),
        ("x:FP32:-1,4,4,3", (1, 4, 4, 3)),
        ("x:FP32:-1,64", (1, 64)),
        ("x:FP32:8,8", (8, 8)),
        ("x:UINT8:-1,3,-1,-1", (1, 3, 16, 16)),
    ],
)
def test_an_image_gets_the_size_and_channels_of_the_input(infer, tmp_path, model, shape):
    Image.new("RGB", (16, 16), (255, 255, 255)).save(tmp_path / "white.png")

    answer = np.array(data(infer(model, f"x=@{tmp_path / 'white.png'}")))

    assert answer.shape == shape
    assert (answer == (255 if "UINT8" in model else 1)).all()


def test_an_image_keeps_its_grey_values(infer, tmp_path):
    grey = np.arange(0, 256, 4, dtype=np.uint8).reshape(8, 8)
    Image.fromarray(grey).save(tmp_path / "grey.png")

    answer = data(infer("x:FP32:-1,1,8,8", f"x=@{tmp_path / 'grey.png'}"))

    np.testing.assert_allclose(np.array(answer)[0, 0], grey / 255, rtol=1e-6)


@pytest.mark.parametrize(
    ("model", "written", "complaint"),
    [
        ("x:INT32:1;y:FP32:1", "z=[1]", "no input 'z'; it has 'x' (INT32 [1]), 'y' (FP32 [1])"),
        ("x:INT32:1;y:FP32:1", "x=[1]", "no value for 'y' (FP32 [1])"),
        ("x:INT32:1;y:FP32:1", "[1]", "write --input NAME=VALUE"),
        ("x:INT8:1", "x=[300]", "input 'x' is INT8, which cannot hold 300"),
        ("x:INT8:1", "x=[0.5]", "input 'x' is INT8, which cannot hold 0.5"),
        ("x:BOOL:1", "x=[2]", "input 'x' is BOOL, which cannot hold 2"),
        ("x:FP16:1", "x=[1e9]", "cannot hold 1000000000.0"),
        ("x:FP32:1", 'x=["a"]', "was given text"),
        ("x:FP32:1", "x=picture.png", "is not JSON; a file is written @file"),
        ("x:FP32:2", "x=[[1], [1, 2]]", "not of equal length"),
        ("x:FP32:1", "x=@nowhere.npy", "cannot read 'nowhere.npy': No such file or directory"),
        ("x:FP32:1", "x={}", "not numbers"),
    ],
)
def test_what_does_not_fit_is_explained(infer, model, written, complaint):
    assert complaint in infer(model, written)


def test_an_unknown_output_is_explained(infer):
    complaint = infer("x:FP32:1", "x=[1]", options=["--output", "q"])

    assert "no output 'q'; it has x" in complaint


def test_people_get_the_largest_scores(url):
    words = [sys.executable, "-m", "penstock", "infer", "p:FP32:-1,10", "--url", url]
    scores = "p=[0.01, 0.02, 0, 0, 0, 0, 0, 0.9, 0.07, 0]"

    ended = subprocess.run([*words, "-i", scores], capture_output=True, text=True, check=False)

    assert ended.returncode == 0, ended.stderr
    lines = [line.split() for line in ended.stdout.splitlines()]
    assert ["p", "FP32", "1x10"] in lines
    assert [line[:2] for line in lines if len(line) > 1][-5:][0] == ["7", "0.9000"]


def test_a_missing_gateway_is_named():
    words = ["infer", "digits", "--url", "127.0.0.1:1", "--input", "[1]"]

    ended = CliRunner().invoke(build(words), words)

    assert ended.exit_code == 1
    assert "no gateway answers at 127.0.0.1:1: start one with 'penstock up'" in ended.stderr
