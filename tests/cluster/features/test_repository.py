"""What is in the repository is what is served, also while the cluster runs."""

import os
import shutil
import signal

import grpc
import pytest
from support.clients.asked import Asked
from support.clients.load import DIGITS, Load, digit_request, eventually
from support.models.repositories import add_digits
from support.processes.cluster import Cluster

NO_MODEL = b"this is no model at all"
UNKNOWN = 'name: "unknown"\nmax_batch_sise: 8\n'
REFUSED = 'name: "refused"\nmodel_operations { op_library_filename: "a.so" }\n'


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    """A cluster whose repository has held faults from the start; each test has its own model."""
    root = tmp_path_factory.mktemp("faulty") / "models"
    for name in ("digits", "unknown", "refused"):
        shutil.copytree(DIGITS / "models" / "digits", root / name)
        shutil.rmtree(root / name / "2")
    for version in ("7", "8"):
        (root / "digits" / version).mkdir()
        (root / "digits" / version / "model.onnx").write_bytes(NO_MODEL)
    (root / "digits" / "5").mkdir()
    (root / "unknown" / "config.pbtxt").write_text(UNKNOWN)
    (root / "refused" / "config.pbtxt").write_text(REFUSED)
    one = Cluster(root.parent / "cluster", root, "--repository-poll-secs", "0.2")
    with one.running():
        yield one


async def all_served(asked, name, *versions):
    """Wait until *versions* of the model *name* are ready; their workers' processes, of each."""

    async def served():
        pids = await asked.pids()
        return all(pids.get((name, int(version))) for version in versions) and pids

    pids = await eventually(served)
    return [pids[name, int(version)] for version in versions]


async def test_a_new_version_is_found_and_served(faulty):
    entry = add_digits(faulty.models, "growing", "1")
    async with Asked(faulty.url) as asked:
        await all_served(asked, "growing", "1")
        shutil.copytree(DIGITS / "models" / "digits" / "2", entry / "2")

        async def served():
            return await asked.state("growing", "2") == "READY"

        await eventually(served)
        reply = await asked.stub.ModelInfer(digit_request(3, "", "growing"), timeout=10)

    assert reply.model_version == "2"


async def test_a_version_that_is_taken_away_is_no_longer_known(faulty):
    entry = add_digits(faulty.models, "shrinking", "1", "2")
    async with Asked(faulty.url) as asked:
        (one,), both = await all_served(asked, "shrinking", "1", "2")
        shutil.rmtree(entry / "2")

        async def gone():
            workers = [of for of in await asked.workers() if of[0] == "shrinking"]
            known = ("shrinking", "2") in await asked.index()
            return not known and workers == [("shrinking", 1)]

        await eventually(gone)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await asked.stub.ModelInfer(digit_request(0, "2", "shrinking"), timeout=10)

    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    assert await eventually(lambda: not both & set(faulty.processes()["worker"]))
    assert one in faulty.processes()["worker"]


async def test_a_damaged_artifact_is_named_and_harms_nobody(faulty):
    async with Asked(faulty.url) as asked:
        entry = (await asked.index())["digits", "7"]
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await asked.stub.ModelInfer(digit_request(0, "7"), timeout=10)
        reply = await asked.stub.ModelInfer(digit_request(0, "1"), timeout=10)

    assert entry.state == "UNAVAILABLE"
    assert "model.onnx is not a model that ONNX Runtime" in entry.reason
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert reply.model_version == "1"


async def test_a_missing_artifact_is_named_and_served_once_it_is_there(faulty):
    digits = faulty.models / "digits"
    async with Asked(faulty.url) as asked:
        entry = (await asked.index())["digits", "5"]
        shutil.copy(digits / "1" / "model.onnx", digits / "5")

        async def served():
            return await asked.state("digits", "5") == "READY"

        await eventually(served)

    assert entry.state == "UNAVAILABLE"
    assert "digits/5 must hold model.onnx" in entry.reason


async def test_a_damaged_artifact_is_served_once_it_is_put_right(faulty):
    digits = faulty.models / "digits"
    async with Asked(faulty.url) as asked:
        assert await asked.state("digits", "8") == "UNAVAILABLE"
        shutil.copy(digits / "1" / "model.onnx", digits / "8" / "model.onnx")

        async def served():
            return await asked.state("digits", "8") == "READY"

        await eventually(served)


async def test_an_unknown_field_of_the_configuration_is_named_with_its_line(faulty):
    async with Asked(faulty.url) as asked:
        index = await asked.index()

    assert index["unknown", "1"].state == "UNAVAILABLE"
    assert "unknown/config.pbtxt:2" in index["unknown", "1"].reason
    assert "max_batch_sise" in index["unknown", "1"].reason
    assert index["digits", "1"].state == "READY"


async def test_a_field_that_is_not_implemented_is_refused_by_name(faulty):
    async with Asked(faulty.url) as asked:
        index = await asked.index()

    assert "model_operations" in index["refused", "1"].reason
    assert index["digits", "1"].state == "READY"


async def test_two_replicas_share_the_work(faulty):
    twice = "instance_group [ { count: 2 kind: KIND_CPU } ]\n"
    add_digits(faulty.models, "replicas", "1", edited=lambda config: config + twice)
    async with Asked(faulty.url) as asked:

        async def two():
            pids = (await asked.pids()).get(("replicas", 1), ())
            return pids if len(pids) == 2 else None

        victim, _ = await eventually(two)

    async with Load(faulty.url, version="1", model="replicas") as load:
        await load.more(300)
        os.kill(victim, signal.SIGKILL)
        await load.more(300)

    assert load.answers.failed == 0, load.answers.errors
    assert load.answers.wrong == 0


async def test_the_four_kinds_of_pipeline_agree(digits_cluster):
    for version in ("1", "2", "3", "4"):
        async with Load(digits_cluster.url, version=version) as load:
            await load.more(100)

        assert load.answers.failed == 0, (version, load.answers.errors)
        assert load.answers.wrong == 0, version
