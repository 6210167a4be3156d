"""Models are loaded, changed and unloaded while the cluster runs, and no request is lost by it."""

import shutil

import grpc
import onnx
import pytest
from support.load import DIGITS, Load, eventually

from penstock.protos import cluster_pb2, cluster_pb2_grpc
from penstock.protos import grpc_service_pb2 as pb
from penstock.protos import grpc_service_pb2_grpc as pb_grpc

CROWD = 64


class Asked:
    """Questions to one gateway."""

    def __init__(self, url):
        self._channel = grpc.aio.insecure_channel(url)
        self.stub = pb_grpc.GRPCInferenceServiceStub(self._channel)
        self.cluster = cluster_pb2_grpc.ClusterStub(self._channel)

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await self._channel.close()

    async def index(self):
        """(name, version) -> (state, reason)."""
        answer = await self.stub.RepositoryIndex(pb.RepositoryIndexRequest(), timeout=5)
        return {(one.name, one.version): (one.state, one.reason) for one in answer.models}

    async def pids(self):
        """Of all workers that are ready, by model and version."""
        status = await self.cluster.Status(cluster_pb2.StatusRequest(), timeout=5)
        return {
            (v.model, v.version): {
                w.pid
                for stage in v.stages
                for w in stage.workers
                if w.state == cluster_pb2.WORKER_STATE_READY
            }
            for v in status.versions
        }


def touch(artifact):
    """Change the content of an artifact, and not what it computes."""
    model = onnx.load(artifact)
    model.doc_string += "changed "
    onnx.save(model, artifact)


def sound(load):
    assert load.answers.failed == 0, load.answers.errors
    assert load.answers.wrong == 0


class TestChanges:
    @pytest.mark.parametrize("version", ["1", "2"])
    async def test_a_changed_artifact_takes_over_without_a_failed_request(
        self, cluster, onnx_digits, version
    ):
        running = cluster(onnx_digits, "--repository-poll-secs", "0.2")
        async with Asked(running.url) as asked:
            before = (await asked.pids())["digits", int(version)]
            async with Load(running.url, version=version, clients=CROWD) as load:
                await load.more(CROWD)
                for artifact in (onnx_digits / "digits" / version).glob("*.onnx"):
                    touch(artifact)

                async def others():
                    now = (await asked.pids())["digits", int(version)]
                    return len(now) == len(before) and not now & before

                await eventually(others)
                await load.more(CROWD)
            sound(load)
            await eventually(lambda: len(running.processes()["worker"]) == 3)

    async def test_a_changed_configuration_takes_over_without_a_failed_request(
        self, cluster, onnx_digits
    ):
        running = cluster(onnx_digits, "--repository-poll-secs", "0.2")
        config = onnx_digits / "digits" / "config.pbtxt"
        async with Asked(running.url) as asked:
            async with Load(running.url, version="", clients=CROWD) as load:
                await load.more(CROWD)
                config.write_text(config.read_text().replace("size: 64", "size: 32"))

                async def changed():
                    request = pb.ModelConfigRequest(name="digits", version="2")
                    answer = await asked.stub.ModelConfig(request)
                    return answer.config.max_batch_size == 32

                await eventually(changed)
                await load.more(CROWD)
            sound(load)

    async def test_a_damaged_artifact_does_not_replace_a_good_one(self, cluster, onnx_digits):
        running = cluster(onnx_digits, "--repository-poll-secs", "0.2")
        async with Asked(running.url) as asked:
            async with Load(running.url, version="1", clients=4) as load:
                (onnx_digits / "digits" / "1" / "model.onnx").write_bytes(b"no model")

                async def told():
                    return (await asked.index())["digits", "1"][1]

                reason = await eventually(lambda: told_when_failed(told))
                await load.more(CROWD)
            sound(load)
            state, _ = (await asked.index())["digits", "1"]

        assert state == "READY"
        assert reason.startswith("its newer content cannot be served: ")
        assert "is not a model that ONNX Runtime" in reason

    async def test_a_new_version_takes_over_without_a_failed_request(self, cluster, onnx_digits):
        config = onnx_digits / "digits" / "config.pbtxt"
        config.write_text(config.read_text().replace("all {}", "latest { num_versions: 1 }"))
        shutil.rmtree(onnx_digits / "digits" / "2")
        running = cluster(onnx_digits, "--repository-poll-secs", "0.2")
        async with Asked(running.url) as asked:
            async with Load(running.url, version="", clients=CROWD) as load:
                await load.more(CROWD)
                shutil.copytree(DIGITS / "models" / "digits" / "2", onnx_digits / "digits" / "2")

                async def switched():
                    return list(await asked.index()) == [("digits", "2")]

                await eventually(switched)
                await load.more(CROWD)
            sound(load)


async def told_when_failed(told):
    reason = await told()
    return reason if "cannot be served" in reason else None
