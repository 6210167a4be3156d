"""Feeds Penstock hostile input: `python -m fuzz.run INPUTS [KIND ...]`, a table at the end.

All inputs are spread over the kinds, two processes at a time. Ends with status 1 if any input broke
an invariant (engine.py); the shortest of each kind is shown in hexadecimal.
"""

import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

KINDS = {"messages": 9, "methods": 4, "configs": 2, "artifacts": 1, "neighbours": 4, "records": 2,
         "commands": 3, "http": 4, "checkpoints": 1}  # fmt: skip
"""Kind -> its share of the inputs."""

SEED = 15
TESTS = Path(__file__).parents[1]
_COVERED = re.compile(rb"cov: (\d+)")


def main() -> int:
    inputs, kinds = int(sys.argv[1]), sys.argv[2:] or list(KINDS)
    each = {kind: max(1000, inputs * KINDS[kind] // sum(KINDS[k] for k in kinds)) for kind in kinds}
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda kind: _fuzz(kind, each[kind], Path(folder)), kinds))
    print("| target | inputs | failures | slowest, ms | grown, MB | branches |")
    print("|---|---|---|---|---|---|")
    failed, total = [], 0
    for kind, (ended, tallies, covered) in zip(kinds, results, strict=True):
        for name, tally in tallies.items():
            total += tally["inputs"]
            failed += [(name, what, data) for what, data in tally["failures"].items()]
            print(
                f"| {kind}: {name} | {tally['inputs']:,} | {len(tally['failures'])} | "
                f"{tally['slowest_s'] * 1000:.1f} | {tally['grown_bytes'] / 1e6:.0f} | {covered} |"
            )
        if ended:
            failed.append((kind, f"its process ended with {ended}", ""))
    print(f"\n{total:,} inputs, {len(failed)} distinct failures")
    for name, what, data in failed:
        print(f"\n{name}: {what}\n  {data[:2000]}")
    return 1 if failed else 0


def _fuzz(kind: str, inputs: int, folder: Path) -> tuple[int, dict, str]:
    inputs = -(-inputs // 1000) * 1000
    result = folder / f"{kind}.json"
    words = [sys.executable, "-m", "fuzz.child", kind, str(inputs), str(SEED), str(result)]
    # The processes run elsewhere: whatever they write lies there.
    path = os.pathsep.join([str(TESTS), *filter(None, os.environ.get("PYTHONPATH", "").split(":"))])
    ended = subprocess.run(
        words,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    covered = _COVERED.findall(ended.stderr)
    if ended.returncode or not result.exists():
        print(ended.stderr.decode(errors="replace")[-3000:], file=sys.stderr)
    tallies = json.loads(result.read_text()) if result.exists() else {}
    return ended.returncode, tallies, covered[-1].decode() if covered else "?"


def one(kind: str, name: str, data: str) -> None:
    """Run one input again: `python -m fuzz.run --one KIND TARGET HEX`."""
    from fuzz.engine import replay

    replay(importlib.import_module(f"fuzz.targets.{kind}").TARGETS, name, bytes.fromhex(data))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(*sys.argv[2:5])
    else:
        sys.exit(main())
