"""The stages of a cut appear together, or not at all."""

import pytest

from penstock.sharding.errors import CannotShard
from penstock.sharding.files import written_whole


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def write_half(target):
    with written_whole(target) as workplace:
        (workplace / "shard-0.onnx").write_text("new")
        (workplace / "shard-1.onnx").write_text("new")
        raise ZeroDivisionError


def test_the_files_arrive_when_the_block_ends(tmp_path):
    target = tmp_path / "models" / "m" / "1"

    with written_whole(target) as workplace:
        (workplace / "shard-0.onnx").write_text("new")
        before = [path for path in target.iterdir() if path != workplace]

    assert before == []
    assert names(target) == ["shard-0.onnx"]


def test_a_failure_leaves_everything_as_it_was(tmp_path):
    (tmp_path / "shard-0.onnx").write_text("old")

    with pytest.raises(ZeroDivisionError):
        write_half(tmp_path)

    assert names(tmp_path) == ["shard-0.onnx"]
    assert (tmp_path / "shard-0.onnx").read_text() == "old"


def test_a_failure_leaves_no_new_folder(tmp_path):
    with pytest.raises(ZeroDivisionError), written_whole(tmp_path / "new"):
        raise ZeroDivisionError

    assert names(tmp_path) == []


def test_shards_of_an_earlier_cut_go_and_other_files_stay(tmp_path):
    for name in ("shard-0.pt2", "shard-2.onnx", "shard-2.onnx.data", "labels.txt", "shard-x.onnx"):
        (tmp_path / name).write_text("old")

    with written_whole(tmp_path) as workplace:
        (workplace / "shard-0.onnx").write_text("new")
        (workplace / "shard-1.onnx").write_text("new")

    assert names(tmp_path) == ["labels.txt", "shard-0.onnx", "shard-1.onnx", "shard-x.onnx"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")

    with (
        pytest.raises(CannotShard, match=r"cannot write to .*file/1: Not a directory"),
        written_whole(tmp_path / "file" / "1"),
    ):
        pytest.fail("it must not begin")


def test_a_full_disk_is_told_as_such(tmp_path):
    with (
        pytest.raises(CannotShard, match=r"cannot write to .*: No space left on device"),
        written_whole(tmp_path),
    ):
        raise OSError(28, "No space left on device")

    assert names(tmp_path) == []
