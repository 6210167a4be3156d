"""What is in the repository is what is served, also while the cluster runs."""

import shutil

import grpc
import pytest
from support.asked import Asked
from support.load import DIGITS, Load, digit_request, eventually


@pytest.fixture
def repository(onnx_digits):
    """Version 1 of the digits only, beside whatever a test adds."""
    shutil.rmtree(onnx_digits / "digits" / "2")
    return onnx_digits


async def test_a_new_version_is_found_and_served(cluster, repository):
    running = cluster(repository)
    async with Asked(running.url) as asked:
        shutil.copytree(DIGITS / "models" / "digits" / "2", repository / "digits" / "2")

        async def served():
            return await asked.state("digits", "2") == "READY"

        await eventually(served)
        reply = await asked.stub.ModelInfer(digit_request(3, ""), timeout=10)

    assert reply.model_version == "2"


async def test_a_version_that_is_taken_away_is_no_longer_known(cluster, onnx_digits):
    running = cluster(onnx_digits)
    async with Asked(running.url) as asked:
        shutil.rmtree(onnx_digits / "digits" / "2")

        async def gone():
            return ("digits", "2") not in await asked.index() and list(await asked.workers()) == [
                ("digits", 1)
            ]

        await eventually(gone)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await asked.stub.ModelInfer(digit_request(0, "2"), timeout=10)

    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    assert await eventually(lambda: len(running.processes()["worker"]) == 1)


async def test_a_damaged_artifact_is_named_and_harms_nobody(cluster, repository):
    broken = repository / "digits" / "7"
    broken.mkdir()
    (broken / "model.onnx").write_bytes(b"this is no model at all")
    running = cluster(repository)

    async with Asked(running.url) as asked:
        entry = (await asked.index())["digits", "7"]
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await asked.stub.ModelInfer(digit_request(0, "7"), timeout=10)
        reply = await asked.stub.ModelInfer(digit_request(0, "1"), timeout=10)

    assert entry.state == "UNAVAILABLE"
    assert "model.onnx is not a model that ONNX Runtime" in entry.reason
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert reply.model_version == "1"


async def test_a_missing_artifact_is_named_and_served_once_it_is_there(cluster, repository):
    (repository / "digits" / "5").mkdir()
    running = cluster(repository)
    async with Asked(running.url) as asked:
        entry = (await asked.index())["digits", "5"]
        shutil.copy(repository / "digits" / "1" / "model.onnx", repository / "digits" / "5")

        async def served():
            return await asked.state("digits", "5") == "READY"

        await eventually(served)

    assert entry.state == "UNAVAILABLE"
    assert "digits/5 must hold model.onnx" in entry.reason


async def test_a_damaged_artifact_is_served_once_it_is_put_right(cluster, repository):
    broken = repository / "digits" / "7"
    broken.mkdir()
    (broken / "model.onnx").write_bytes(b"this is no model at all")
    running = cluster(repository)
    async with Asked(running.url) as asked:
        shutil.copy(repository / "digits" / "1" / "model.onnx", broken / "model.onnx")

        async def served():
            return await asked.state("digits", "7") == "READY"

        await eventually(served)


async def test_an_unknown_field_of_the_configuration_is_named_with_its_line(cluster, repository):
    other = shutil.copytree(repository / "digits", repository / "other")
    (other / "config.pbtxt").write_text('name: "other"\nmax_batch_sise: 8\n')
    running = cluster(repository)

    async with Asked(running.url) as asked:
        index = await asked.index()

    assert index["other", "1"].state == "UNAVAILABLE"
    assert "other/config.pbtxt:2" in index["other", "1"].reason
    assert "max_batch_sise" in index["other", "1"].reason
    assert index["digits", "1"].state == "READY"


async def test_a_field_that_is_not_implemented_is_refused_by_name(cluster, repository):
    other = shutil.copytree(repository / "digits", repository / "other")
    refused = 'model_operations { op_library_filename: "a.so" }'
    (other / "config.pbtxt").write_text(f'name: "other"\n{refused}\n')
    running = cluster(repository)

    async with Asked(running.url) as asked:
        index = await asked.index()

    assert "model_operations" in index["other", "1"].reason
    assert index["digits", "1"].state == "READY"


async def test_two_replicas_share_the_work(cluster, repository):
    config = repository / "digits" / "config.pbtxt"
    config.write_text(config.read_text() + "instance_group [ { count: 2 kind: KIND_CPU } ]\n")
    running = cluster(repository)

    async with Load(running.url, version="1") as load:
        await load.more(300)
        running.kill("worker")
        await load.more(300)

    assert load.answers.failed == 0, load.answers.errors
    assert load.answers.wrong == 0


async def test_the_four_kinds_of_pipeline_agree(digits_cluster):
    for version in ("1", "2", "3", "4"):
        async with Load(digits_cluster.url, version=version) as load:
            await load.more(100)

        assert load.answers.failed == 0, (version, load.answers.errors)
        assert load.answers.wrong == 0, version
