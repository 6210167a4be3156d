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
