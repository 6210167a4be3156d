"""ModelInfer and ModelStreamInfer, from their bytes to a job, and what a worker makes of it."""

import contextlib
from base64 import b64encode
from types import SimpleNamespace

from fuzz import mutations
from fuzz.engine import Target
from google.protobuf import text_format

from penstock.errors import PenstockError
from penstock.gateway.replies.content_digest import content_digest
from penstock.gateway.requests import reading
from penstock.gateway.requests.call import Call
from penstock.gateway.requests.idempotency import key_of
from penstock.gateway.requests.kinds.sequences import controls_of, turn_of
from penstock.gateway.requests.streams import _wants_final, failure
from penstock.models.sequencing import sequence_plan
from penstock.protos import bounds, cluster_pb2, wire
from penstock.protos.grpc_service_pb2 import ModelInferRequest, ModelStreamInferResponse
from penstock.protos.model_config_pb2 import ModelConfig
from penstock.scheduler.jobs.types import ROUTE, Lease
from penstock.scheduler.requests.checks import admit
from penstock.scheduler.requests.request_rules import Rules
from penstock.tensors import from_raw, pack_bytes
from penstock.workers.run.decoding import Decoder

CONFIG = text_format.Parse(
    "max_batch_size: 8 dynamic_batching { priority_levels: 2 default_priority_level: 1 }",
    ModelConfig(name="m"),
)


def spec(name, datatype, *shape, optional=False):
    return cluster_pb2.TensorSpec(name=name, datatype=datatype, shape=shape, optional=optional)


INPUTS = (
    spec("x", "FP32", -1, 4),
    spec("t", "BYTES", -1, -1, optional=True),
    spec("n", "INT64", -1, 2, optional=True),
    spec("h", "FP16", -1, 2, optional=True),
    spec("b", "BOOL", -1, -1, -1, optional=True),
)
RULES = Rules.of(CONFIG, INPUTS, (spec("y", "FP32", -1, 3), spec("s", "BYTES", -1, 1)))
SERVED = SimpleNamespace(rules=RULES)


def request(*tensors, typed=False, **parameters):
    """A request whose *tensors* are (name, datatype, shape, elements or bytes)."""
    made = ModelInferRequest(model_name="m", model_version="1", id="7")
    for name, datatype, shape, data in tensors:
        tensor = made.inputs.add(name=name, datatype=datatype, shape=shape)
        if typed:
            field = {"FP32": "fp32", "BYTES": "bytes", "INT64": "int64", "BOOL": "bool"}[datatype]
            getattr(tensor.contents, f"{field}_contents").extend(data)
        else:
            made.raw_input_contents.append(data)
    for name, value in parameters.items():
        kind = {bool: "bool_param", int: "int64_param", str: "string_param"}[type(value)]
        setattr(made.parameters[name], kind, value)
    return made


def seeds():
    x = ("x", "FP32", [1, 4], bytes(16))
    wanting = request(x, priority=2, timeout=1000, note="hello")
    output = wanting.outputs.add(name="y")
    output.parameters["classification"].int64_param = 2
    in_region = request(("n", "INT64", [1, 2], bytes(16)))
    in_region.inputs[0].parameters["shared_memory_region"].string_param = "r"
    in_region.inputs[0].parameters["shared_memory_byte_size"].int64_param = 16
    many = [
        request(x),
        wanting,
        in_region,
        request(x, ("t", "BYTES", [1, 2], pack_bytes([b"a", b"token"]))),
        request(("x", "FP32", [1, 4], [1.0] * 4), ("t", "BYTES", [1, 1], [b"a"]), typed=True),
        request(("n", "INT64", [1, 2], [1, -2]), ("b", "BOOL", [1, 1, 1], [True]), typed=True),
        request(x, sequence_id=9, sequence_start=True, sequence_end=True),
        request(x, sequence_id="text", penstock_idempotency_key="k", penstock_path=True),
    ]
    return [one.SerializeToString() for one in many]


SEEDS = seeds()


def infer(data):
    """As `Inference` reads a request, whatever its length; protobuf must have read the same."""
    parts = reading.taken_apart(data)
    parsed = reading._parsed_bounded(parts)
    whole = ModelInferRequest.FromString(data)
    assert list(whole.raw_input_contents) == [bytes(raw) for raw in parts.raws]
    assert whole.id == parsed.id
    asked = reading.Asked(data, parts, parsed, parts.raws, {}, SERVED, Call())
    reading._is_long(asked)
    asked, admitted = reading._admitted(asked)
    key_of(asked.request, None)
    _wants_final(asked.request)
    if asked.request.inputs:
        content_digest(asked.request, asked.raws)
    assert 1 <= admitted.rows <= 8
    assert ModelInferRequest.FromString(asked.message).model_name == parsed.model_name


def stream(data):
    """What is said of a request that failed on a stream."""
    ModelStreamInferResponse.FromString(failure(data, "it failed"))


def count(data):
    """Counted as nothing but bytes of a head, in which all limits are."""
    with contextlib.suppress(wire.Malformed):
        bounds.check_head(data, ModelInferRequest)


def _plan(datatype):
    text = (
        "max_batch_size: 8 sequence_batching { control_input { name: 'id' control { "
        f"kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_{datatype} }} }} "
        "control_input { name: 's' control { kind: CONTROL_SEQUENCE_START "
        "int32_false_true: [0, 1] } } }"
    )
    wire_type = "BYTES" if datatype == "STRING" else datatype
    inputs = {"id": spec("id", wire_type, -1, 1), "s": spec("s", "INT32", -1, 1)}
    config = text_format.Parse(text, ModelConfig(name="m"))
    return sequence_plan(cluster_pb2.ModelVersion(), config, inputs, {})


PLANS = [_plan(datatype) for datatype in ("UINT64", "STRING", "INT32")]


def sequence(data):
    """The turn of a request of a sequence, and what its model is told."""
    parsed = reading._parsed_bounded(reading.taken_apart(data))
    admitted = admit(parsed, RULES, None if not data else wire.take_apart(data).raws)
    for plan in PLANS:
        with contextlib.suppress(PenstockError):
            ModelInferRequest.FromString(controls_of(turn_of(parsed, admitted.rows, plan), plan))


ROUTED = cluster_pb2.Route(
    ensemble="e",
    version=1,
    outputs=["y"],
    steps=[
        cluster_pb2.RouteStep(model="m", version=1, inputs={"x": "x"}, outputs={"y": "z"}),
        cluster_pb2.RouteStep(model="k", version=1, inputs={"x": "z"}, outputs={"y": "y"}),
    ],
)


def routed():
    made = request(("x", "FP32", [1, 4], bytes(16)))
    made.parameters[ROUTE].string_param = b64encode(ROUTED.SerializeToString()).decode()
    return made.SerializeToString()


def decode(data):
    """A job's payload in a worker: its tensors, and its way through an ensemble."""
    decoder = Decoder(["x"], batched=True, by_parameters=True)
    work = decoder.decode(Lease("j", "t", 1000, 1, 1, False, 0, "g", data), 0.0)
    for tensor in work.tensors.values():
        with contextlib.suppress(ValueError):
            from_raw(bytes(tensor.raw), tensor.datatype, tensor.shape)


structured = mutations.message
TARGETS = [
    Target("infer", "ModelInfer, through wire, bounds, validation, contents", SEEDS, infer,
           mutate=structured),
    Target("stream", "a failed request of a stream", SEEDS, stream, mutate=structured),
    Target("count", "a head, counted", SEEDS, count, mutate=structured),
    Target("sequence", "ModelInfer to stateful models", SEEDS, sequence, mutate=structured),
    Target("decode", "payloads and routes, in a worker", [*SEEDS[:5], routed()], decode,
           mutate=structured),
]  # fmt: skip
