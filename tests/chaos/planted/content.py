"""Faults to plant where files become what is served."""

from chaos.planted.fault import Mutant

HASHES = "tests/pure/models/files/test_file_hashes.py::"
VERIFY = "tests/pure/workers/loading/test_verify.py::"
SWAPPED = "tests/pure/models/files/test_swapped_repositories.py::"
PUBLISHING = "tests/redis/registry/test_publishing.py::"
RECENT = "tests/pure/kernel/test_recent.py::"

CONTENT = [
    Mutant(
        "content: the last piece of a large file does not count",
        "src/penstock/models/files/file_hashes.py",
        "range(0, size, PIECE_BYTES))",
        "range(0, size - PIECE_BYTES, PIECE_BYTES))",
        HASHES + "test_every_byte_of_a_large_file_counts",
    ),
    Mutant(
        "content: the time of the last change does not count",
        "src/penstock/models/files/file_hashes.py",
        "stat.st_mtime_ns, stat.st_ctime_ns)",
        "stat.st_mtime_ns, 0)",
        HASHES + "test_a_file_written_in_place_with_its_old_size_and_time_is_read_again",
    ),
    Mutant(
        "content: a file written a moment ago is never read again",
        "src/penstock/models/files/file_hashes.py",
        "settled = abs(began_ns - before.ctime_ns) > COARSEST_CLOCK_NS",
        "settled = True",
        HASHES + "test_a_file_written_a_moment_ago_is_read_once_more",
    ),
    Mutant(
        "content: hashes are kept for ever",
        "src/penstock/models/files/file_hashes.py",
        "for key in self._known.keys() - self._asked:",
        "for key in ():",
        HASHES + "test_what_nobody_asks_for_any_more_is_forgotten",
    ),
    Mutant(
        "content: a worker loads whatever is there",
        "workers/loading/verify.py",
        "if found != stage.fingerprint:",
        "if False:",
        VERIFY + "test_another_content_of_any_file_is_refused",
    ),
    Mutant(
        "content: a file replaced while it is loaded goes unnoticed",
        "workers/loading/verify.py",
        "if Stand.of(file) == stand:",
        "if True:",
        VERIFY + "test_a_file_replaced_while_it_was_loaded_is_noticed",
    ),
    Mutant(
        "content: an older release's name is compared with all bytes",
        "workers/loading/verify.py",
        "hashes.sampled = not stage.fingerprint.startswith(WHOLE)",
        "hashes.sampled = False",
        VERIFY + "test_an_older_releases_name_is_waited_for_in_its_way",
    ),
    Mutant(
        "content: a link that moves during a look breaks what is whole",
        "src/penstock/models/files/repository.py",
        "        if resolved(roots) == bases:\n            break",
        "        if True:\n            break",
        SWAPPED + "test_a_link_that_is_led_elsewhere_during_a_look_is_followed",
    ),
    Mutant(
        "content: a model that was read once is never read again",
        "src/penstock/models/files/known_models.py",
        "if known is not None and _is_as_before(known.footprint):",
        "if known is not None:",
        "tests/pure/models/files/test_known_models.py",
    ),
    Mutant(
        "content: what was written a moment ago is believed",
        "src/penstock/models/files/known_models.py",
        "len(versions) == len(found) and _settled(before, began_ns)",
        "len(versions) == len(found)",
        "tests/pure/models/files/test_known_models.py",
    ),
    Mutant(
        "content: what is still being read is taken back",
        "scheduler/roles/publisher.py",
        "versions += _as_published(found, snapshot)",
        "pass",
        PUBLISHING + "test_a_scheduler_that_starts_again_takes_nothing_back",
    ),
    Mutant(
        "content: two releases rename large files in turns",
        "scheduler/roles/publisher.py",
        "self._hashes.sampled = bool(older)",
        "pass",
        PUBLISHING + "test_beside_an_older_scheduler_large_files_have_its_names",
    ),
    Mutant(
        "content: completions are made anew at each look",
        "src/penstock/recent.py",
        "self._before[key] if key in self._before else make()",
        "make()",
        RECENT + "test_more_versions_than_any_bound_are_completed_once",
    ),
    Mutant(
        "content: the oldest goes",
        "src/penstock/recent.py",
        "place = _CHANCE.randrange(self._most)",
        "place = self._order.index(next(iter(self)))",
        RECENT + "test_what_is_too_many_costs_a_part_of_the_rest",
    ),
]
