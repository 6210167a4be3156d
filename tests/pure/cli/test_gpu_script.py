"""``make gpu`` says plainly where it has checked nothing."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[3] / "bench"


@pytest.mark.parametrize("only", [(), ("--only", "W2")])
def test_without_a_gpu_it_checks_nothing_and_says_so(tmp_path, only):
    ended = subprocess.run(
        [sys.executable, "-m", "gpu", *only],
        env={**os.environ, "PATH": str(tmp_path), "PYTHONPATH": str(BENCH)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert shutil.which("nvidia-smi", path=str(tmp_path)) is None
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("no NVIDIA GPU: ")
    assert ended.stderr.endswith("Nothing was checked.\n")
