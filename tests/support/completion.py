"""Versions of a model x -> y, completed or refused."""

import pytest
from support.clients.infer_requests import spec
from support.records import PROVED, signature, stage, version

from penstock.errors import InvalidConfiguration
from penstock.models.completion import complete

X, Y = spec("x", "FP32", -1, 4), spec("y", "FP32", -1, 2)
H = spec("h", "FP32", -1, 8)
WHOLE = signature([X], [Y])
LISTED = (
    'input { name: "x" data_type: TYPE_FP32 dims: 4 } '
    'output { name: "y" data_type: TYPE_FP32 dims: 2 }'
)


def completed(text="", *signatures, **fields):
    signatures = signatures or (WHOLE,)
    runtimes = fields.pop("runtimes", ["onnxruntime"] * len(signatures))
    proofs = fields.pop("proofs", [PROVED] * len(signatures))
    stages = [stage(runtime=runtime) for runtime in runtimes]
    return complete(version(*stages, text=text, **fields), signatures, proofs)


def refusal(text="", *signatures, **fields):
    with pytest.raises(InvalidConfiguration) as caught:
        completed(text, *signatures, **fields)
    return str(caught.value)
