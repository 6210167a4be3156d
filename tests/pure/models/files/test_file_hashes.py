"""A file's hash covers all of it, and a file that is the same is not read again."""

import os
import time

import pytest
from support.models.repositories import put

from penstock.models.files.artifacts import fingerprint
from penstock.models.files.file_hashes import (
    PIECE_BYTES,
    WHOLE,
    FileHashes,
    StillReading,
    sampled_hash,
    whole_hash,
)

LARGE = 2 * PIECE_BYTES + 12_345
BETWEEN = (LARGE - 65_536) * 600 // 1_023 + 65_546
"""Beside what older releases took as samples."""

HOUR_NS = 3_600 * 1_000_000_000


def later():
    """A clock by which every file was written long ago."""
    return time.time_ns() + HOUR_NS


def large(path):
    """A file that is hashed in pieces; it takes no room on the disk."""
    with path.open("wb") as file:
        file.truncate(LARGE)
    return path


def change(path, at, content=b"x"):
    """Write in place: the size stays, and the time of writing is set back."""
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(at)
        file.write(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def wait_for(hashes, path):
    """The hash of a file that is read beside."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            return hashes.of(path)
        except StillReading:
            time.sleep(0.01)
    raise AssertionError("it is never read to its end")


@pytest.mark.parametrize("at", [0, PIECE_BYTES - 1, PIECE_BYTES, BETWEEN, LARGE - 1])
def test_every_byte_of_a_large_file_counts(tmp_path, at):
    path = large(tmp_path / "model.onnx")
    before = fingerprint([path])

    change(path, at)

    assert fingerprint([path]) != before


def test_small_files_have_the_name_that_older_releases_give_them(tmp_path):
    path = put(tmp_path, {"model.onnx": "ab"}) / "model.onnx"

    assert fingerprint([path]) == fingerprint([path], hash_of=sampled_hash)
    assert fingerprint([path]) == "70d71ba59596258e1a8c0965e3b5f776"


def test_the_name_of_a_large_file_says_that_all_of_it_was_read(tmp_path):
    path = large(tmp_path / "model.onnx")

    assert fingerprint([path]).startswith(WHOLE)
    assert not fingerprint([path], hash_of=sampled_hash).startswith(WHOLE)


def test_five_thousand_files_that_stay_are_read_once(tmp_path):
    put(tmp_path, {f"{number}": str(number) for number in range(5000)})
    files, hashes = sorted(tmp_path.iterdir()), FileHashes(now_ns=later)

    first = fingerprint(files, hash_of=hashes.of)
    hashes.turn()
    second = fingerprint(files, hash_of=hashes.of)

    assert (hashes.reads, first) == (5000, second)


def test_a_file_written_in_place_with_its_old_size_and_time_is_read_again(tmp_path):
    path, hashes = put(tmp_path, {"m": "ab"}) / "m", FileHashes(now_ns=later)
    before = hashes.of(path)

    change(path, 1, b"c")

    assert hashes.of(path) != before
    assert hashes.reads == 2


def test_a_file_written_a_moment_ago_is_read_once_more(tmp_path):
    """Another write may bear the same time."""
    now = [time.time_ns()]
    path, hashes = put(tmp_path, {"m": "ab"}) / "m", FileHashes(now_ns=lambda: now[0])
    hashes.of(path)

    now[0] += HOUR_NS
    for _ in range(3):
        hashes.of(path)

    assert hashes.reads == 2


def test_what_nobody_asks_for_any_more_is_forgotten(tmp_path):
    put(tmp_path, {"stays": "a", "goes": "b"})
    hashes = FileHashes(now_ns=later)
    for name in ("stays", "goes"):
        hashes.of(tmp_path / name)
    hashes.turn()
    hashes.of(tmp_path / "stays")
    hashes.turn()

    assert len(hashes) == 1


def test_a_large_file_is_read_beside(tmp_path):
    path, hashes = large(tmp_path / "m"), FileHashes(waits=False, now_ns=later)

    with pytest.raises(StillReading, match="m is being read"):
        hashes.of(path)

    assert wait_for(hashes, path) == whole_hash(path)
    assert hashes.reads == 1


def test_reading_stops_when_nobody_needs_it(tmp_path):
    hashes = FileHashes()
    hashes.close()

    with pytest.raises(StillReading):
        hashes.of(large(tmp_path / "m"))
