"""Large messages come and go without the kernel clearing pages for each of them."""

import gc
import os
import platform
import subprocess
import sys
import weakref
from functools import cache

import pytest

from penstock.process import heap

pytestmark = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="other C libraries keep what they think right"
)

# Thirty messages of 600 KB at once, gone again, forty times: faults in all of it.
TRAFFIC = """
import resource, sys
from penstock.process.heap import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
for _ in range(40):
    messages = [b"x" * 600_000 for _ in range(30)]
    del messages
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


@cache
def faults(how, **environment):
    kept = {name: value for name, value in os.environ.items() if name not in heap.VARIABLES}
    ran = subprocess.run(
        [sys.executable, "-c", TRAFFIC, how],
        env=kept | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return int(ran.stdout)


def test_pages_are_asked_for_once():
    assert faults("kept") * 10 < faults("left")


def test_a_program_that_is_started_can_be_told_as_well():
    assert faults("left", **heap.VARIABLES) * 10 < faults("left")


def test_who_runs_the_process_has_the_last_word():
    assert faults("kept", MALLOC_TRIM_THRESHOLD_="131072") > 10 * faults("kept")


def test_what_only_a_cycle_holds_is_given_back():
    """As a call that failed may, with its message: at rest nothing else would ever free it."""

    class Held(list):
        pass

    cycle = Held()
    cycle.append(cycle)
    gone = weakref.ref(cycle)
    gc.disable()
    try:
        del cycle
        heap.give_back_freed_memory()
    finally:
        gc.enable()

    assert gone() is None
