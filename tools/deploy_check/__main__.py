"""``make deploy-check``: run the checks, and print a table of what was checked.

Arguments: ``--long`` for those that take long, ``--all`` for these as well; words of their names.
``--write`` checks nothing, and writes the files that follow from others.
"""

import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from deploy_check import chart, files, kustomize, pods, programs, rules, started, watched
from deploy_check.check import Check, Wrong
from deploy_check.running import first_steps, images, language, played, rolling, units

# Each module that has checks has them in the order in which they run.
CHECKS: tuple[Check, ...] = (
    *programs.CHECKS,
    *chart.CHECKS,
    *pods.CHECKS,
    *files.CHECKS,
    *kustomize.CHECKS,
    *rules.CHECKS,
    *started.CHECKS,
    *watched.CHECKS,
    *units.CHECKS,
    *images.CHECKS,
    *played.CHECKS,
    *language.CHECKS,
    *first_steps.CHECKS,
    *rolling.CHECKS,
)


def main(arguments: Sequence[str]) -> int:
    """Run what *arguments* ask for; the exit status is the verdict."""
    if "--write" in arguments:
        files.write()
        return 0
    words = [word for word in arguments if not word.startswith("--")]
    chosen = [
        check
        for check in CHECKS
        if ("--all" in arguments or check.long == ("--long" in arguments))
        and all(word in check.what for word in words)
    ]
    if not chosen:
        print("no check has these words in its name")
        return 2
    rows = [_row(check) for check in chosen]
    print(_table(rows))
    passed = sum(row[0] == "ok" for row in rows)
    print(f"{passed} passed, {len(rows) - passed} failed")
    return int(passed < len(rows))


def _row(check: Check) -> tuple[str, str, str, str]:
    """Run one; its faults are printed at once."""
    print(f"{check.what} ...", flush=True)
    begun = time.monotonic()
    verdict = "ok"
    try:
        seen = check.run()
    except Wrong as wrong:
        verdict, seen = "WRONG", f"{len(wrong.faults)} faults, above"
        print("".join(f"  {fault}\n" for fault in wrong.faults), end="")
    except Exception:  # noqa: BLE001 - a check that is broken has its row
        verdict, seen = "BROKEN", "the check itself, above"
        traceback.print_exc(file=sys.stdout)
    return verdict, check.what, seen, f"{time.monotonic() - begun:.1f} s"


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    heads = ("", "what", "looked at", "took")
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in (heads, *rows))
    return "\n".join(("", *lines, ""))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
