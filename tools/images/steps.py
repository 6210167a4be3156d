"""Steps of a build: programs that run, and end it with what they said where they fail."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "deploy" / "images"


class Failed(Exception):
    """A step did not succeed; its text says which, and what to do."""


def run(*command: str | Path, at: Path = ROOT, env: Mapping[str, str] | None = None) -> str:
    """What a program prints, run to its end.

    Raises:
        Failed: it is not there, or ended with another status than 0.
    """
    words = [str(word) for word in command]
    if shutil.which(words[0]) is None:
        raise Failed(f"{words[0]} is missing: install it (Debian: apt-get install {words[0]})")
    ended = subprocess.run(
        words,
        cwd=at,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if ended.returncode != 0:
        raise Failed(f"{' '.join(words)} failed:\n{ended.stdout}{ended.stderr}")
    return ended.stdout


def pip(*words: str | Path) -> None:
    """Run pip; `Failed` where it fails."""
    run(sys.executable, "-m", "pip", "--disable-pip-version-check", *words)


def source_date() -> str:
    """When what is built was written, in seconds: all that is built has this date."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if given:
        return given
    try:
        return run("git", "log", "-1", "--format=%ct").strip()
    except Failed:
        # No checkout: a release's files have dates of their own.
        return str(int((ROOT / "pyproject.toml").stat().st_mtime))
