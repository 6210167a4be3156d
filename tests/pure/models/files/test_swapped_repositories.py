"""A repository behind a link is read where the link leads at that moment."""

import shutil

import pytest
from support.models.repositories import artifacts, put

from penstock.models.files.file_hashes import FileHashes
from penstock.models.files.repository import look, scan
from penstock.workers.loading.verify import find_copy


def lead(link, target):
    """Lead *link* to *target*, in one step, as git-sync does."""
    fresh = link.with_name("fresh")
    fresh.symlink_to(target)
    fresh.replace(link)


@pytest.fixture
def trees(tmp_path):
    put(tmp_path / "rev-a", artifacts("m/1/model.onnx"))
    put(tmp_path / "rev-b", artifacts("m/1/model.onnx", "n/1/model.onnx"))
    return tmp_path


def offered(versions):
    return [(one.model, one.error) for one in versions]


def test_a_link_that_is_led_elsewhere_shows_the_new_tree(trees):
    link = trees / "current"
    lead(link, "rev-a")
    before = scan(link)

    lead(link, "rev-b")

    assert offered(before) == [("m", "")]
    assert offered(scan(link)) == [("m", ""), ("n", "")]


def test_a_link_that_is_led_elsewhere_during_a_look_is_followed(trees):
    """Else what is whole would be called broken, since it leads out of the old tree."""
    link, hashes, swapped = trees / "current", FileHashes(), []
    lead(link, "rev-a")

    def swap(file):
        if not swapped:
            swapped.append(file)
            lead(link, "rev-b")
            (trees / "rev-a" / "m" / "1" / "model.onnx").unlink()
        return hashes.of(file)

    assert offered(look([link], swap).versions) == [("m", ""), ("n", "")]


def test_links_inside_are_followed_as_well(trees):
    """`m` leads to a revision's own directory, below the repository."""
    put(trees, artifacts(".revs/a/1/model.onnx", ".revs/b/2/model.onnx"))
    for tree in ("rev-a", "rev-b"):
        (trees / tree).rename(trees / f".{tree}")
    lead(trees / "m", ".revs/a")
    before = [one.version for one in scan(trees)]

    lead(trees / "m", ".revs/b")

    assert (before, [one.version for one in scan(trees)]) == ([1], [2])


def test_a_link_out_of_the_tree_is_refused_whatever_the_root_is(trees):
    outside = put(trees, artifacts("secret/1/model.onnx")) / "secret"
    (trees / "rev-b" / "s").symlink_to(outside)
    lead(trees / "current", "rev-b")

    errors = dict(offered(scan(trees / "current")))

    assert "leads out of the repository" in errors["s"]
    assert not errors["m"]


def test_a_worker_that_starts_again_reads_the_new_tree(trees):
    link = trees / "current"
    lead(link, "rev-a")
    (version,) = scan(link)
    lead(link, "rev-b")
    shutil.rmtree(trees / "rev-a")

    copy = find_copy([link], version, version.stages[0], FileHashes())

    assert copy.artifact == trees / "rev-b" / "m" / "1" / "model.onnx"
