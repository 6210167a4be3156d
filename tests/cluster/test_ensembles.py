"""Ensembles on a real cluster: right numbers, whatever happens to the models they are made of."""

import grpc
import numpy as np
import pytest
from support.ensembles import write_diamond

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


@pytest.fixture
def diamond(cluster, tmp_path):
    write_diamond(tmp_path / "models")
    return cluster(tmp_path / "models")


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


def counts(stub, *models):
    """model -> its statistics."""
    found = stub.ModelStatistics(pb.ModelStatisticsRequest(), timeout=10)
    return {one.name: one for one in found.model_stats if one.name in models}


STEPS = ("triple", "five", "double", "join")


class TestAnswers:
    def test_each_step_counts_as_a_request_to_its_model(self, diamond):
        with grpc.insecure_channel(diamond.url) as channel:
            stub = pb_grpc.GRPCInferenceServiceStub(channel)
            for _ in range(3):
                stub.ModelInfer(request(np.ones((2, 4))), timeout=20)
            found = counts(stub, "diamond", *STEPS)

        for one in found.values():
            stats = one.inference_stats
            computes = (stats.compute_input, stats.compute_infer, stats.compute_output)
            assert (one.inference_count, one.execution_count) == (6, 3)
            assert {part.count for part in (stats.success, stats.queue, *computes)} == {3}
            assert stats.success.ns >= stats.queue.ns + sum(part.ns for part in computes)
        steps = [found[name].inference_stats for name in STEPS]
        whole = found["diamond"].inference_stats
        for part in ("queue", "compute_infer"):
            assert getattr(whole, part).ns == sum(getattr(one, part).ns for one in steps)

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
