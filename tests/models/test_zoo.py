"""The zoo as it is committed: one cluster serves all of it, and every goal is met."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
ZOO = EXAMPLES / "zoo"
SHIPPED = ("feedforward", "rnn", "lstm")
AGREE = ("served against its source, one caller", "the same, 12 callers at once")

pytestmark = pytest.mark.timeout(180)


def zoo(*options):
    paths = (str(EXAMPLES), os.environ.get("PYTHONPATH", ""))
    return subprocess.run(
        [sys.executable, "-m", "zoo", *options],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "COLUMNS": "120"},
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


def test_what_is_committed_is_small():
    files = [path for kind in SHIPPED for path in (ZOO / kind).rglob("*.onnx")]
    files += [ZOO / kind / "weights.npz" for kind in SHIPPED]

    assert len(files) > len(SHIPPED)
    assert sum(path.stat().st_size for path in files) < 300_000


def test_a_kind_that_is_not_there_is_refused():
    done = zoo("perceptron")

    assert done.returncode == 2
    assert "perceptron" in done.stderr
