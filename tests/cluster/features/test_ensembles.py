"""Ensembles on a real cluster: right numbers, whatever happens to the models they are made of."""

import asyncio
import contextlib
import os
import shutil
import signal
from collections import Counter

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from support.clients.load import eventually
from support.models.ensembles import step, write_diamond, write_ensemble, write_scale
from support.processes.cluster import Cluster
from tritonclient.utils import InferenceServerException

from penstock.protos import cluster_pb2, cluster_pb2_grpc
from penstock.protos import grpc_service_pb2 as pb
from penstock.protos import grpc_service_pb2_grpc as pb_grpc


def request(values, model="diamond", outputs=(), **parameters):
    values = np.asarray(values, dtype=np.float32)
    made = pb.ModelInferRequest(model_name=model, id="r")
    made.inputs.add(name="IN", datatype="FP32", shape=values.shape)
    made.raw_input_contents.append(values.tobytes())
    for name in outputs:
        made.outputs.add(name=name)
    for key, value in parameters.items():
        made.parameters[key].int64_param = value
    return made


def arrays(reply):
    pairs = zip(reply.outputs, reply.raw_output_contents, strict=True)
    return {o.name: np.frombuffer(raw, np.float32).reshape(o.shape) for o, raw in pairs}


@pytest.fixture(scope="module")
def diamond(tmp_path_factory):
    """Shared: each test leaves it with all of its workers at work."""
    folder = tmp_path_factory.mktemp("diamond")
    write_diamond(folder / "models")
    one = Cluster(folder / "cluster", folder / "models")
    with one.running():
        yield one


def test_an_ensemble_answers_what_its_steps_give(diamond):
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    with grpc.insecure_channel(diamond.url) as channel:
        stub = pb_grpc.GRPCInferenceServiceStub(channel)
        whole = stub.ModelInfer(request(values), timeout=20)
        part = stub.ModelInfer(request(values, outputs=["scaled"]), timeout=20)

    found = arrays(whole)
    assert (whole.model_name, whole.model_version, whole.id) == ("diamond", "1", "r")
    np.testing.assert_allclose(found["OUT"], values * 3 - values * 5 * 2)
    np.testing.assert_allclose(found["scaled"], values * 3)
    assert list(arrays(part)) == ["scaled"]


COMPUTES = ("compute_input", "compute_infer", "compute_output")


def counts(stub):
    """model -> its statistics, as numbers that can be subtracted: name -> number."""
    found = {}
    for one in stub.ModelStatistics(pb.ModelStatisticsRequest(), timeout=10).model_stats:
        numbers = Counter(inferences=one.inference_count, executions=one.execution_count)
        for name in ("success", "queue", *COMPUTES):
            part = getattr(one.inference_stats, name)
            numbers[name], numbers[f"{name} ns"] = part.count, part.ns
        found[one.name] = numbers
    return found


STEPS = ("triple", "five", "double", "join")


class TestAnswers:
    def test_each_step_counts_as_a_request_to_its_model(self, diamond):
        with grpc.insecure_channel(diamond.url) as channel:
            stub = pb_grpc.GRPCInferenceServiceStub(channel)
            before = counts(stub)
            for _ in range(3):
                stub.ModelInfer(request(np.ones((2, 4))), timeout=20)
            found = {name: after - before[name] for name, after in counts(stub).items()}

        assert found.keys() == {"diamond", *STEPS}
        for one in found.values():
            assert (one["inferences"], one["executions"]) == (6, 3)
            assert {one[part] for part in ("success", "queue", *COMPUTES)} == {3}
            parts_ns = sum(one[f"{part} ns"] for part in ("queue", *COMPUTES))
            assert one["success ns"] >= parts_ns
        for part in ("queue ns", "compute_infer ns"):
            assert found["diamond"][part] == sum(found[name][part] for name in STEPS)

    def test_it_describes_itself_and_its_steps(self, diamond):
        with grpc.insecure_channel(diamond.url) as channel:
            stub = pb_grpc.GRPCInferenceServiceStub(channel)
            metadata = stub.ModelMetadata(pb.ModelMetadataRequest(name="diamond"), timeout=10)
            config = stub.ModelConfig(pb.ModelConfigRequest(name="diamond"), timeout=10).config
            ready = stub.ModelReady(pb.ModelReadyRequest(name="diamond"), timeout=10).ready

        assert metadata.platform == config.platform == "ensemble"
        assert [(t.name, list(t.shape)) for t in metadata.inputs] == [("IN", [-1, 4])]
        assert [t.name for t in metadata.outputs] == ["OUT", "scaled"]
        names = [step.model_name for step in config.ensemble_scheduling.step]
        assert sorted(names) == sorted(STEPS)
        assert ready

    def test_a_request_that_cannot_be_right_is_refused_as_for_other_models(self, diamond):
        with grpc.insecure_channel(diamond.url) as channel:
            stub = pb_grpc.GRPCInferenceServiceStub(channel)
            with pytest.raises(grpc.RpcError) as refused:
                stub.ModelInfer(request(np.ones((9, 4))), timeout=20)

        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert refused.value.details() == (
            "[request id: r] inference request batch-size must be <= 8 for 'diamond'"
        )


class TestFailures:
    @pytest.fixture(scope="class")
    @classmethod
    def strict(cls, tmp_path_factory):
        """`second` takes two rows at a time; `outer` holds `strict`."""
        folder = tmp_path_factory.mktemp("strict")
        root = folder / "models"
        write_scale(root, "first", 2)
        # Rows are not known before the request: an ensemble without batches hands over a batch.
        write_scale(root, "second", 3, max_batch=2)
        steps = (
            step("first", {"x": "IN"}, {"y": "mid"}),
            step("second", {"x": "mid"}, {"y": "OUT"}),
        )
        write_ensemble(root, "strict", *steps, max_batch=0, dims=(-1, 4))
        inner = (step("strict", {"IN": "IN"}, {"OUT": "OUT"}),)
        write_ensemble(root, "outer", *inner, max_batch=0, dims=(-1, 4))
        one = Cluster(folder / "cluster", root)
        with one.running():
            yield one

    def test_a_failed_step_is_told_with_its_ensemble(self, strict):
        refused = "inference request batch-size must be <= 2 for 'second'"
        with grpc.insecure_channel(strict.url) as channel:
            stub = pb_grpc.GRPCInferenceServiceStub(channel)
            told = {}
            for model in ("strict", "outer"):
                with pytest.raises(grpc.RpcError) as failed:
                    stub.ModelInfer(request(np.ones((3, 4)), model), timeout=20)
                assert failed.value.code() is grpc.StatusCode.INVALID_ARGUMENT
                told[model] = failed.value.details()
            fine = stub.ModelInfer(request(np.ones((2, 4)), "outer"), timeout=20)

        assert told["strict"] == f"in ensemble 'strict', {refused}"
        assert told["outer"] == f"in ensemble 'outer', in ensemble 'strict', {refused}"
        np.testing.assert_allclose(arrays(fine)["OUT"], np.full((2, 4), 6.0))

    def test_the_first_steps_model_may_take_fewer_rows_too(self, strict):
        with grpc.insecure_channel(strict.url) as channel:
            stub = pb_grpc.GRPCInferenceServiceStub(channel)
            with pytest.raises(grpc.RpcError) as failed:
                stub.ModelInfer(request(np.ones((9, 4)), "strict"), timeout=20)

        assert failed.value.details() == (
            "in ensemble 'strict', inference request batch-size must be <= 8 for 'first'"
        )


@pytest.mark.parametrize("victim", ["triple", "five", "double", "join"])
async def test_a_killed_worker_of_a_step_costs_no_answer(diamond, victim):
    """Whatever step its jobs were in, another worker does it again."""
    load = Numbers(diamond.url)
    async with load:
        await load.more(200)
        for _ in range(2):
            async with grpc.aio.insecure_channel(diamond.url) as channel:
                status = await cluster_pb2_grpc.ClusterStub(channel).Status(
                    cluster_pb2.StatusRequest(model=victim), timeout=10
                )
            (version,) = status.versions
            for worker in version.stages[0].workers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker.pid, signal.SIGKILL)
            await load.more(200)

    assert load.failed == []
    assert load.right >= 600


class Numbers:
    """Sixteen clients that ask the diamond without pause, each answer checked."""

    def __init__(self, url, model="diamond"):
        self._url, self._model = url, model
        self._stopping = False
        self.right, self.failed = 0, []

    async def __aenter__(self):
        self._channel = grpc.aio.insecure_channel(self._url)
        self._stub = pb_grpc.GRPCInferenceServiceStub(self._channel)
        self._tasks = [asyncio.create_task(self._ask(seed)) for seed in range(16)]
        return self

    async def __aexit__(self, *_):
        self._stopping = True
        await asyncio.gather(*self._tasks)
        await self._channel.close()

    async def more(self, count):
        """Until so many more are right, or one has failed."""
        wanted = self.right + count
        async with asyncio.timeout(60):
            while self.right < wanted and not self.failed:
                await asyncio.wait(self._tasks, timeout=0.02)

    async def _ask(self, seed):
        random = np.random.default_rng(seed)
        while not self._stopping and not self.failed:
            values = random.standard_normal((random.integers(1, 4), 4), dtype=np.float32)
            try:
                reply = await self._stub.ModelInfer(request(values, self._model), timeout=30)
                found = arrays(reply)
                np.testing.assert_allclose(found["OUT"], values * 3 - values * 5 * 2, rtol=1e-5)
                np.testing.assert_allclose(found["scaled"], values * 3, rtol=1e-5)
                self.right += 1
            except (grpc.RpcError, AssertionError) as error:
                self.failed.append(str(error))


async def test_a_steps_model_is_replaced_without_a_failed_request(cluster, tmp_path):
    root = tmp_path / "models"
    write_diamond(root)
    running = cluster(root, "--repository-poll-secs", "0.2")
    load = Numbers(running.url)
    async with load, grpc.aio.insecure_channel(running.url) as channel:
        stub = cluster_pb2_grpc.ClusterStub(channel)

        async def pids(model):
            status = await stub.Status(cluster_pb2.StatusRequest(model=model), timeout=10)
            return {
                (version.version, worker.pid)
                for version in status.versions
                # None yet of a version whose files are still being copied.
                for stage in version.stages
                for worker in stage.workers
                if worker.state == cluster_pb2.WORKER_STATE_READY
            }

        before = await pids("five")
        await load.more(50)
        shutil.copytree(root / "five" / "1", root / "five" / "2")

        async def replaced():
            now = await pids("five")
            return {version for version, _ in now} == {2} and not now & before

        await eventually(replaced)
        await load.more(50)

    assert load.failed == []


class TestControl:
    @pytest.fixture(scope="class")
    @classmethod
    def explicit(cls, tmp_path_factory):
        """It has loaded `five`; `lonely` has a step whose model is nowhere."""
        folder = tmp_path_factory.mktemp("explicit")
        root = folder / "models"
        write_diamond(root)
        with (root / "double" / "config.pbtxt").open("a") as config:
            config.write("version_policy { all {} }\n")
        for number in ("2", "3", "4"):
            shutil.copytree(root / "double" / "1", root / "double" / number)
        write_ensemble(root, "lonely", step("nowhere", {"x": "IN"}, {"y": "OUT"}))
        options = ("--model-control-mode", "explicit", "--load-model", "five")
        with Cluster(folder / "cluster", root, *options).running() as cluster:
            yield cluster

    def test_loading_an_ensemble_loads_what_it_needs_and_unloading_may_unload_it(self, explicit):
        client = triton.InferenceServerClient(explicit.url)
        try:
            client.load_model("diamond")
            assert client.is_model_ready("diamond")
            assert all(client.is_model_ready(name) for name in STEPS)
            # The ensemble needs one of them, and all are loaded with it.
            assert all(client.is_model_ready("double", number) for number in "1234")

            client.unload_model("diamond", unload_dependents=True)
            left = {name for name in STEPS if client.is_model_ready(name)}
            # A client had requested this one by its name.
            assert left == {"five"}
            assert not client.is_model_ready("diamond")
        finally:
            client.close()

    def test_an_ensemble_whose_model_is_not_there_fails_to_load_and_says_which(self, explicit):
        client = triton.InferenceServerClient(explicit.url)
        try:
            with pytest.raises(InferenceServerException) as failed:
                client.load_model("lonely")
        finally:
            client.close()
        assert failed.value.message() == (
            "load failed for model 'lonely': version 1 is at UNAVAILABLE state: ensemble lonely "
            "contains models that are not available or ambiguous: nowhere: failed to poll from "
            "model repository;"
        )

    def test_on_demand_the_first_request_loads_all_of_it(self, cluster, tmp_path):
        root = tmp_path / "models"
        write_diamond(root)
        write_scale(root, "other", 7)
        running = cluster(root, "--model-control-mode", "on-demand", "--load-model", "other")
        values = np.ones((1, 4), dtype=np.float32)
        with grpc.insecure_channel(running.url) as channel:
            stub = pb_grpc.GRPCInferenceServiceStub(channel)
            reply = stub.ModelInfer(request(values), timeout=60)

        np.testing.assert_allclose(arrays(reply)["OUT"], values * -7)
