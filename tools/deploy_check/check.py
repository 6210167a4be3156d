"""A check: what it is called, how it is run, what came of it."""

import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"


class Wrong(Exception):
    """What a check found: one line for each fault."""

    def __init__(self, *faults: str) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


@dataclass(frozen=True, slots=True)
class Check:
    """One row of the table.

    Attributes:
        what: what it shows, in a few words.
        run: does it, and says how much was looked at ("61 manifests"); raises `Wrong`.
        long: takes more than some ten seconds, so that ``make deploy-check-long`` alone runs it.
    """

    what: str
    run: Callable[[], str]
    long: bool = False


def require(faults: Sequence[str]) -> None:
    """Raise `Wrong` unless there are no *faults*."""
    if faults:
        raise Wrong(*faults)


def output_of(
    *command: str | Path,
    at: Path = ROOT,
    within_s: float = 60,
    env: Mapping[str, str] | None = None,
) -> str:
    """What a program prints; `Wrong`, with what it said, where it fails or takes too long."""
    words = [str(word) for word in command]
    try:
        ended = subprocess.run(
            words,
            cwd=at,
            env=env,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=within_s,
        )
    except subprocess.TimeoutExpired:
        raise Wrong(f"{' '.join(words)}: no end within {within_s:g} s") from None
    if ended.returncode != 0:
        raise Wrong(f"{' '.join(words)}: status {ended.returncode}", ended.stdout + ended.stderr)
    return ended.stdout
