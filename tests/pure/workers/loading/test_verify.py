"""A worker loads what the scheduler has published, and nothing else."""

import asyncio
import shutil

import pytest
from support.models.repositories import artifacts, put
from support.waiting import until

from penstock.errors import ArtifactUnusable
from penstock.models.files.file_hashes import PIECE_BYTES, FileHashes, sampled_hash
from penstock.models.files.repository import scan
from penstock.protos import cluster_pb2 as pb
from penstock.workers.liveness.announcer import Announcer
from penstock.workers.loading.verify import OtherContent, find_copy, wait_for_copy

WARMED = 'model_warmup { name: "w" inputs { key: "x" value { %s input_data_file: "x" } } }'
CODE = """backend: "python" input { name: "x" data_type: TYPE_FP32 dims: 1 }
output { name: "y" data_type: TYPE_FP32 dims: 1 }"""
MODELS = {
    "onnx": artifacts("m/1/model.onnx", "m/1/model.onnx.data"),
    "program": artifacts("m/1/model.pt2"),
    "code": {
        "m/config.pbtxt": CODE,
        **artifacts("m/1/model.py", "m/1/lib/words.txt"),
    },
    "warm-up": {
        "m/config.pbtxt": WARMED % "data_type: TYPE_FP32 dims: 1",
        **artifacts("m/1/model.onnx", "m/warmup/x"),
    },
}


@pytest.fixture
def published(tmp_path):
    """The repository that the scheduler sees."""
    return tmp_path / "published"


@pytest.fixture
def here(tmp_path):
    """This machine's copy of it."""
    return tmp_path / "here"


def found(root, version, stage=0, *, sampled=False):
    hashes = FileHashes()
    hashes.sampled = sampled
    return find_copy([root], version, version.stages[stage], hashes)


@pytest.mark.parametrize("files", MODELS.values(), ids=MODELS)
def test_a_copy_of_what_is_published_is_loaded(published, here, files):
    (version,) = scan(put(published, files))
    shutil.copytree(published, here)

    copy = found(here, version)

    assert copy.artifact == here / version.stages[0].artifact
    copy.check_unchanged()


@pytest.mark.parametrize(
    ("kind", "file"),
    [(kind, file) for kind, files in MODELS.items() for file in files if "config" not in file],
)
def test_another_content_of_any_file_is_refused(published, here, kind, file):
    (version,) = scan(put(published, MODELS[kind]))
    shutil.copytree(published, here)
    put(here, {file: "x" * (here / file).stat().st_size})

    with pytest.raises(OtherContent, match="is not what the scheduler has published") as caught:
        found(here, version)

    assert "bring this machine's copy of the repository up to date" in str(caught.value)
    assert str(here) in str(caught.value)


def test_a_worker_looks_at_its_own_stage_alone(published, here):
    (version,) = scan(put(published, artifacts("m/1/shard-0.onnx", "m/1/shard-1.onnx")))
    shutil.copytree(published, here)
    put(here, {"m/1/shard-1.onnx": "old"})

    assert found(here, version, 0)
    with pytest.raises(OtherContent):
        found(here, version, 1)


def test_missing_files_are_named(published, here):
    (version,) = scan(put(published, artifacts("m/1/model.onnx")))
    here.mkdir()

    with pytest.raises(ArtifactUnusable, match=r"m/1/model.onnx is missing in .*here"):
        found(here, version)


def test_a_file_replaced_while_it_was_loaded_is_noticed(published):
    (version,) = scan(put(published, artifacts("m/1/model.onnx", "m/1/weights")))
    copy = found(published, version)
    put(published, {"m/1/next": "content of m/1/weights"})
    (published / "m/1/next").replace(published / "m/1/weights")

    with pytest.raises(OtherContent, match="m/1/weights was replaced while it was loaded"):
        copy.check_unchanged()


def test_what_an_older_release_published_is_held_against_its_samples(published):
    path = put(published, artifacts("m/1/model.onnx")) / "m/1/model.onnx"
    with path.open("r+b") as file:
        file.truncate(PIECE_BYTES + 12_345)
    (older,) = scan(published, hash_of=sampled_hash)

    assert found(published, older, sampled=True)
    with path.open("r+b") as file:
        file.write(b"other")
    with pytest.raises(OtherContent):
        found(published, older, sampled=True)


class Starting(Announcer):
    """A worker whose node is to know when its start costs nothing any more."""

    waits = False

    def has_started(self):
        self.waits = True


class Desk:
    """Writes down what a worker says of itself."""

    def __init__(self):
        self.reasons = []

    async def announce(self, record, **_):
        self.reasons.append(record.reason)


async def test_a_copy_that_lags_is_waited_for(published, here):
    (version,) = scan(put(published, artifacts("m/1/model.onnx")))
    put(here, {"m/1/model.onnx": "the old one"})
    desk = Desk()
    announcer = Starting(desk, pb.Worker(state=pb.WORKER_STATE_LOADING))
    waiting = asyncio.create_task(wait_for_copy([here], version, version.stages[0], announcer))
    await until(lambda: desk.reasons)
    assert announcer.waits, "others may start meanwhile"

    shutil.copytree(published, here, dirs_exist_ok=True)
    copy = await asyncio.wait_for(waiting, 30)

    assert "is not what the scheduler has published" in desk.reasons[0]
    assert copy.base == here


async def test_an_older_releases_name_is_waited_for_in_its_way(published):
    path = put(published, artifacts("m/1/model.onnx")) / "m/1/model.onnx"
    with path.open("r+b") as file:
        file.truncate(PIECE_BYTES + 12_345)
    (older,) = scan(published, hash_of=sampled_hash)
    desk = Desk()
    waiting = asyncio.create_task(
        wait_for_copy([published], older, older.stages[0], Starting(desk, pb.Worker()))
    )
    await until(lambda: waiting.done() or desk.reasons, 30)
    waiting.cancel()

    assert desk.reasons == []
    assert (await waiting).artifact == path
