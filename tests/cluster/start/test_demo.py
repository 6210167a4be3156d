"""The demo, as ``make demo`` runs it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

DEMO = Path(__file__).parents[3] / "examples" / "digits" / "demo.py"


@pytest.mark.parametrize("options", [(), ("--kill", "worker"), ("--kill", "scheduler")], ids=str)
def test_it_answers_nearly_every_image_rightly(options):
    done = subprocess.run(
        [sys.executable, str(DEMO), "--rounds", "4", *options],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    accuracy = re.search(r"Accuracy +([\d.]+)%", done.stdout)
    assert accuracy, done.stdout
    assert float(accuracy[1]) >= 97
    assert "1,440 answers" in done.stdout
    assert "0 failed" in done.stdout
    assert "0 differing" in done.stdout
    assert re.search(r"p50 [\d.]+ ms +p95 [\d.]+ ms +p99 [\d.]+ ms", done.stdout)
    assert re.search(r"gateway \d+ +worker \d+ on \S+ +worker \d+ on \S+ +[\d,]+", done.stdout)
