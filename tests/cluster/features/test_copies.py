"""What is served is what the repository holds: all of its bytes, on each machine, behind links."""

import os
import shutil

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from support.clients.asked import Asked
from support.clients.load import digit_request, eventually
from support.processes.roles import all_ready, starting, status_of, workers_in

from penstock.models.files.file_hashes import PIECE_BYTES
from penstock.protos import cluster_pb2
from penstock.protos import grpc_service_pb2 as pb

ROWS = PIECE_BYTES // 4 + 100_000
MIDDLE = ROWS // 3


@pytest.fixture
def repository(onnx_digits):
    """Version 1 of the digits only."""
    shutil.rmtree(onnx_digits / "digits" / "2")
    return onnx_digits


@pytest.fixture
def role(tmp_path, redis_server):
    with starting(tmp_path, redis_server) as start:
        yield start


def lead(link, target):
    """Lead *link* to *target*, in one step, as git-sync does."""
    fresh = link.with_name("fresh")
    fresh.symlink_to(target)
    fresh.replace(link)


async def test_a_node_whose_copy_lags_serves_once_it_has_come(role, repository, tmp_path):
    copy, artifact = tmp_path / "copy", "digits/1/model.onnx"
    shutil.copytree(repository, copy)
    model = onnx.load(copy / artifact)
    model.doc_string += "the release before"
    onnx.save(model, copy / artifact)
    url = await role("gateway", "--port", "0").up()
    role("scheduler", "--models", str(repository))
    role("node", "--models", str(copy), "--node", "late")

    async def told():
        workers = workers_in(await status_of(url))
        return [w for w in workers if "is not what the scheduler has published" in w.reason]

    (worker,) = await eventually(told)
    shutil.copy(repository / artifact, copy / "fresh")
    (copy / "fresh").replace(copy / artifact)
    await eventually(lambda: all_ready(url))

    assert worker.state != cluster_pb2.WORKER_STATE_READY
    assert "bring this machine's copy of the repository up to date" in worker.reason


async def test_a_repository_behind_a_link_outlives_its_old_directory(cluster, repository, tmp_path):
    link = tmp_path / "current"
    repository.rename(tmp_path / "rev-a")
    lead(link, "rev-a")
    running = cluster(link, "--repository-poll-secs", "0.2")
    async with Asked(running.url) as asked:
        shutil.copytree(tmp_path / "rev-a", tmp_path / "rev-b")
        shutil.copytree(tmp_path / "rev-b" / "digits", tmp_path / "rev-b" / "more")
        config = tmp_path / "rev-b" / "more" / "config.pbtxt"
        config.write_text(config.read_text().replace('"digits"', '"more"'))
        lead(link, "rev-b")

        async def followed():
            return await asked.state("more", "1") == "READY"

        await eventually(followed)
        shutil.rmtree(tmp_path / "rev-a")
        (before,) = (await asked.pids())["digits", 1]
        os.kill(before, 9)

        async def back():
            return (await asked.pids())["digits", 1] - {before}

        await eventually(back)
        reply = await asked.stub.ModelInfer(digit_request(0, "1"), timeout=20)

    assert reply.model_name == "digits"


def write_table(folder):
    """`out` is what a table of more than `PIECE_BYTES` has at `at`; returns the artifact."""
    folder.mkdir(parents=True)
    table = numpy_helper.from_array(np.ones(ROWS, np.float32), "table")
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "at"], ["out"])],
        "table",
        [helper.make_tensor_value_info("at", onnx.TensorProto.INT64, [1])],
        [helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, [1])],
        initializer=[table],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.save(model, folder / "model.onnx")
    return folder / "model.onnx"


def change(artifact):
    """Another number in the middle of the table, in place; size and time of writing stay."""
    before, weight = artifact.stat(), np.float32(1).tobytes()
    with artifact.open("r+b") as file:
        start = file.read(1 << 20).index(weight * 64)
        file.seek(start + MIDDLE * 4)
        assert file.read(4) == weight
        file.seek(-4, os.SEEK_CUR)
        file.write(np.float32(7).tobytes())
    os.utime(artifact, ns=(before.st_atime_ns, before.st_mtime_ns))


async def test_a_load_ends_when_every_changed_byte_is_served(cluster, tmp_path):
    artifact = write_table(tmp_path / "models" / "table" / "1")
    running = cluster(
        tmp_path / "models", "--model-control-mode", "explicit", "--load-model", "table"
    )
    request = pb.ModelInferRequest(model_name="table")
    request.inputs.add(name="at", datatype="INT64", shape=[1])
    request.raw_input_contents.append(np.int64(MIDDLE).tobytes())

    async with Asked(running.url) as asked:

        async def answer():
            reply = await asked.stub.ModelInfer(request, timeout=20)
            return np.frombuffer(reply.raw_output_contents[0], np.float32).tolist()

        before = await answer()
        change(artifact)
        load = pb.RepositoryModelLoadRequest(model_name="table")
        await asked.stub.RepositoryModelLoad(load, timeout=60)

        assert (before, await answer()) == ([1.0], [7.0])
