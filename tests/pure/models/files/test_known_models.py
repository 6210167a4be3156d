"""What has not changed is not read again, and whatever changes is seen."""

import os
import subprocess
import sys
import time

import pytest
from support.models.repositories import artifacts, put

from penstock.models.files.file_hashes import FileHashes
from penstock.models.files.known_models import KnownModels
from penstock.models.files.repository import look, scan, scan_model

LATER_NS = 3_000_000_000
CONFIG = 'parameters: { key: "a" value: { string_value: "1" } }'


class Looking:
    """Looks at a repository again and again, three seconds after all that was written."""

    def __init__(self, root):
        self._root = root
        self.hashes = FileHashes(now_ns=self._later)
        self._known = KnownModels(self.hashes, now_ns=self._later)

    def _later(self):
        return time.time_ns() + LATER_NS

    def versions(self):
        found = look([self._root], self.hashes.of, self._known).versions
        self._known.turn()
        self.hashes.turn()
        return found

    def same(self):
        """Which records are those of the last look."""
        # They live on meanwhile: what a new record has for an id may be that of one which is gone.
        before = self.versions()
        ids = {id(one) for one in before}
        return [one.model for one in self.versions() if id(one) in ids]


@pytest.fixture
def root(tmp_path):
    files = artifacts("a/1/model.onnx", "a/2/model.onnx", "b/1/model.onnx")
    return put(tmp_path / "models", {**files, "b/config.pbtxt": CONFIG})


def test_a_model_that_did_not_change_is_not_read_again(root):
    looking = Looking(root)

    assert looking.same() == ["a", "b"]
    assert looking.versions() == scan(root)
    assert looking.hashes.reads == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "b/config.pbtxt").write_text(CONFIG.replace('"1"', '"2"')),
        lambda root: (root / "b/1/model.onnx").write_bytes(b"another"),
        lambda root: (root / "b/1/model.onnx").rename(root / "b/1/model.pt2"),
        lambda root: (root / "b/1").rename(root / "b/7"),
        lambda root: (root / "b/config.pbtxt").unlink(),
        lambda root: (root / "b/1/model.onnx").unlink(),
        lambda root: put(root, artifacts("b/2/model.onnx")),
        lambda root: (root / "b").rename(root / "c"),
    ],
    ids=["config", "content", "kind", "version", "no config", "no file", "added", "name"],
)
def test_a_change_is_seen_at_the_next_look(root, change):
    looking = Looking(root)
    looking.versions()

    change(root)

    assert looking.versions() == scan(root)
    assert looking.same()[0] == "a"


def test_a_link_that_leads_to_something_at_last_is_seen(root, tmp_path):
    (root / "b/labels.txt").symlink_to(tmp_path / "later.txt")
    looking = Looking(root)
    looking.versions()
    known = dict(looking._known._known)

    (tmp_path / "later.txt").write_text("one")
    looking.versions()

    again = looking._known._known
    assert [key[1].name for key in known if again[key] is not known[key]] == ["b"]


def test_a_file_that_is_written_in_its_place_with_its_time_is_seen(root):
    looking, file = Looking(root), root / "b/1/model.onnx"
    looking.versions()
    before, content = file.stat(), file.read_bytes()
    file.write_bytes(content[::-1])
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert content != content[::-1]
    assert looking.versions() == scan(root)


def test_a_link_that_leads_elsewhere_is_seen(root):
    put(root, artifacts(".store/x/model.onnx", ".store/y/model.onnx"))
    (root / ".store/y/model.onnx").write_bytes(b"another")
    link = root / "b/3"
    link.symlink_to("../.store/x")
    looking = Looking(root)
    looking.versions()

    link.unlink()
    link.symlink_to("../.store/y")

    assert looking.versions() == scan(root)


def test_what_was_written_a_moment_ago_is_read_again(root):
    """A second write may follow that has the same time."""
    hashes = FileHashes()
    known = KnownModels(hashes)
    first = look([root], hashes.of, known).versions
    second = look([root], hashes.of, known).versions

    assert len(known) == 0
    assert first == second


def test_what_is_wrong_is_looked_at_each_time(root):
    (root / "b/config.pbtxt").write_text("nonsense")
    looking = Looking(root)
    broken = looking.versions()[-1]
    assert broken.error

    assert looking.same() == ["a"]


def test_hashes_of_models_that_are_not_read_stay(root):
    looking = Looking(root)
    looking.versions()
    looking.versions()
    (root / "a/config.pbtxt").write_text(CONFIG)

    reads = looking.hashes.reads
    looking.versions()

    assert looking.hashes.reads == reads


def test_one_model_is_found_without_a_look_at_the_others(root):
    """Of thousands, on a file system far away, that would take seconds."""
    program = f"""
import sys
from pathlib import Path
from penstock.models.files.repository import scan_model
root, listed = {str(root)!r}, []
def hook(event, words):
    if event in ("os.listdir", "os.scandir"):
        listed.append(words)
sys.addaudithook(hook)
print(*(one.model for one in scan_model([Path(root)], "b")))
print(*sorted({{str(words[0]).removeprefix(root) for words in listed}}))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )

    assert done.stdout.split() == ["b", "/b", "/b/1"]


def test_a_link_to_itself_is_no_model(root):
    (root / "loop").symlink_to("loop")

    assert [one.model for one in scan(root)] == ["a", "b"]
    assert scan_model([root], "loop") == []


@pytest.mark.parametrize("name", ["", ".", "..", "../models/b", "b/1", ".store", "x" * 300, "a\0"])
def test_what_is_no_name_is_no_model(root, name):
    assert scan_model([root], name) == []
