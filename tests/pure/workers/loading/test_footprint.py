"""A worker knows how much memory it holds."""

import numpy as np

from penstock.workers.loading.footprint import footprint, own_bytes, with_cache

ROLLUP = """\
00400000-7ffd rollup
Rss:              300000 kB
Pss:              200000 kB
Pss_Anon:          60000 kB
Pss_File:         139000 kB
Pss_Shmem:          1000 kB
"""


def test_what_no_file_holds_as_well_counts():
    assert own_bytes(ROLLUP) == 61_000 << 10
    assert own_bytes("") == 0


def test_this_process_grows_with_what_it_holds():
    before = footprint("cpu")
    held = np.ones(64 << 20, np.uint8)

    assert footprint("cpu") - before > 60 << 20
    assert held.nbytes == 64 << 20


def test_a_cache_counts_once():
    """The driver counts it among what a process holds of a GPU; where that tells, and only then."""
    assert with_cache("cpu", 100, 30, 7) == 107
    assert with_cache("cuda", 100, 30, 7) == 100
    assert with_cache("cuda", 0, 30, 7) == (512 << 20) + 37
