"""Plants faults in copies of the tree and runs the tests that must notice.

Prints a table: which fault, caught by which test. Before the first, all those tests run on a copy
as it is: a test that fails anyway catches nothing.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

ROOT = Path(__file__).parents[2]
_LONGEST_S = 150


def main(mutants, words):
    """Plant those that *words* choose; the exit status says whether all were noticed."""
    options = _options(words)
    words = options.words
    chosen = [m for m in mutants if not words or any(word in m.name for word in words)]
    with tempfile.TemporaryDirectory(prefix="test-penstock-") as folder:
        trees = SimpleQueue()
        for number in range(options.jobs):
            tree = Path(folder) / f"tree{number}"
            copied(tree)
            trees.put(tree)
        catchers = sorted({mutant.catcher for mutant in chosen})
        print(f"{len(chosen)} faults; first {len(catchers)} tests without any ...", flush=True)
        status, told = run(tree, ["-n", str(options.jobs), *catchers])
        if status != 0:
            print(f"they must pass before they can catch anything:\n{told}")
            return 1
        with ThreadPoolExecutor(options.jobs) as threads:
            rows = list(threads.map(lambda mutant: planted(trees, mutant), chosen))
    return _told(chosen, rows)


def copied(tree):
    """Write what git has, as it is here, to *tree*; what was made here may take gigabytes."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        # What was deleted and not committed is still listed.
        if os.path.lexists(ROOT / name):
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tree / name, follow_symlinks=False)


def _options(words):
    parser = argparse.ArgumentParser(prog="chaos.mutants", description="Plant known faults.")
    parser.add_argument("--jobs", type=int, default=1, help="faults at a time")
    parser.add_argument("words", nargs="*", help="only faults whose names have one of these")
    return parser.parse_args(words)


def _told(chosen, rows):
    """The exit status, once the table is printed."""
    width = max(len(mutant.name) for mutant in chosen)
    print()
    for mutant, (caught, took_s) in zip(chosen, rows, strict=True):
        print(f"{mutant.name:<{width}}  {caught:<8} {took_s:5.1f} s  {mutant.catcher}")
    missed = [caught for caught, _ in rows if caught not in ("caught", "hangs")]
    print(f"\n{len(chosen) - len(missed)} of {len(chosen)} caught")
    return 1 if missed else 0


def planted(trees, mutant):
    """Whether the catcher notices, and after how long; the tree is as it was afterwards."""
    tree, began_s = trees.get(), time.monotonic()
    path = tree / mutant.file
    text = path.read_text()
    if text.count(mutant.right) != 1:
        caught = "no place"
    else:
        path.write_text(text.replace(mutant.right, mutant.wrong))
        status, told = run(tree, [mutant.catcher])
        path.write_text(text)
        # 1: tests failed. Anything else is no judgement: nothing ran, or it could not begin.
        caught = {0: "MISSED", 1: "caught", None: "hangs"}.get(status, "broken")
        if caught == "broken":
            print(told)
    trees.put(tree)
    print(f"{caught:<8} {mutant.name}", flush=True)
    return caught, time.monotonic() - began_s


def run(tree, words):
    """The exit status of pytest with *words*, None if it hangs, and what it wrote."""
    environment = {**os.environ, "PYTHONPATH": str(tree / "src"), "CHAOS_SEED": "1"}
    environment.pop("CHAOS", None)
    command = [sys.executable, "-m", "pytest", "-x", "-m", "", "-p", "no:randomly", *words]
    try:
        done = subprocess.run(
            command,
            cwd=tree,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_LONGEST_S * len(words),
        )
    except subprocess.TimeoutExpired:
        return None, "it hangs"
    return done.returncode, done.stdout[-4000:] + done.stderr[-4000:]
