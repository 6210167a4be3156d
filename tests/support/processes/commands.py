"""Command lines, run in this process or in one of their own, at 80 columns."""

import os
import subprocess
import sys
from pathlib import Path

from support.processes.canaries import secrets_in
from typer.testing import CliRunner

from penstock.cli.app import build

ROOT = Path(__file__).parents[3]
WIDTH = 80
SCREEN = {"COLUMNS": str(WIDTH), "NO_COLOR": "1", "TERM": "dumb"}


def invoke(*arguments):
    """``invoke("check", "--json")`` in this process; what it complains of holds no secret."""
    result = CliRunner().invoke(
        build(arguments),
        list(map(str, arguments)),
        prog_name="penstock",
        env=SCREEN,
    )
    assert secrets_in(result.stderr) == []
    return result


def spawn(*arguments, cwd=ROOT, without=(), environment=None):
    """In a process of its own, in which *without* are not installed."""
    hide = "".join(f"sys.modules[{name!r}] = None; " for name in without)
    program = f"import sys; {hide}from penstock.__main__ import main; main()"
    ended = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        cwd=cwd,
        env={**os.environ, **SCREEN, **(environment or {})},
    )
    assert secrets_in(ended.stderr) == []
    return ended


def too_wide(text):
    """The lines that do not fit."""
    return [line for line in text.splitlines() if len(line) > WIDTH]
