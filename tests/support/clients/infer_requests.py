"""Requests and rules for the tests of validation, with as few words as possible."""

import struct

import numpy as np
import pytest
from google.protobuf import text_format

from penstock.errors import InvalidRequest
from penstock.protos.cluster_pb2 import TensorSpec
from penstock.protos.grpc_service_pb2 import ModelInferRequest
from penstock.protos.model_config_pb2 import ModelConfig
from penstock.scheduler.requests.checks import admit
from penstock.scheduler.requests.request_rules import Rules


def spec(name, datatype, *shape, optional=False):
    return TensorSpec(name=name, datatype=datatype, shape=shape, optional=optional)


def rules(*inputs, outputs=(), max_batch_size=8, config=""):
    parsed = text_format.Parse(config, ModelConfig(name="m", max_batch_size=max_batch_size))
    return Rules.of(parsed, inputs, outputs or [spec("y", "FP32", -1, 10)])


def add_input(request, name, array=None, *, datatype="FP32", shape=None):
    shape = array.shape if shape is None else shape
    request.inputs.add(name=name, datatype=datatype, shape=shape)
    if array is not None:
        request.raw_input_contents.append(
            array if isinstance(array, bytes) else np.ascontiguousarray(array).tobytes()
        )


def ask(*inputs, request_id="i", **parameters):
    request = ModelInferRequest(model_name="m", id=request_id)
    for name, array in inputs:
        add_input(request, name, array)
    for key, value in parameters.items():
        request.parameters[key].CopyFrom(value)
    return request


def zeros(*shape):
    return np.zeros(shape, np.float32)


def refusal(request, rules, kind=InvalidRequest):
    with pytest.raises(kind) as caught:
        admit(request, rules)
    return str(caught.value)


def packed(*elements):
    """Elements of BYTES, as they travel."""
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)
