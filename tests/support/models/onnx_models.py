"""Small ONNX models for tests, each written as an entry of a model repository.

Every ``write_...`` writes ``<root>/<name>/config.pbtxt`` and ``<root>/<name>/1/model.onnx`` and
returns the entry's directory.
"""

import time
from collections.abc import Sequence
from pathlib import Path

from penstock.protos import grpc_service_pb2 as pb

MAX_BATCH = 8

PATIENT = "oldest { max_candidate_sequences: 64 } max_sequence_idle_microseconds: 60000000"
"""The `sequence_batching` of sequences that may pause for a minute."""

_ONNX_TYPES = {
    "BOOL": "BOOL",
    "UINT8": "UINT8",
    "UINT16": "UINT16",
    "UINT32": "UINT32",
    "UINT64": "UINT64",
    "INT8": "INT8",
    "INT16": "INT16",
    "INT32": "INT32",
    "INT64": "INT64",
    "FP16": "FLOAT16",
    "FP32": "FLOAT",
    "FP64": "DOUBLE",
    "BF16": "BFLOAT16",
    "BYTES": "STRING",
}

DATATYPES = tuple(_ONNX_TYPES)
"""Every datatype of the protocol."""


def write_identity(root: Path, name: str, datatype: str, *, batch: bool) -> Path:
    """`output` is `input`, of any length: [batch, n] with batching, else [n]."""
    from onnx import helper

    shape = ["batch", "n"] if batch else ["n"]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["input"], ["output"])],
        name,
        [_value("input", datatype, shape)],
        [_value("output", datatype, shape)],
    )
    tensor = (datatype, (-1,))
    config = _config(name, MAX_BATCH if batch else 0, {"input": tensor}, {"output": tensor})
    return _write(root, name, graph, config)


def write_sum(root: Path, name: str = "sum") -> Path:
    """`total` is the sum of each row of `values`: much goes in and little comes out; FP32."""
    from onnx import helper

    axes = helper.make_tensor("axes", 7, [1], [1])
    graph = helper.make_graph(
        [helper.make_node("ReduceSum", ["values", "axes"], ["total"])],
        name,
        [_value("values", "FP32", ["batch", "n"])],
        [_value("total", "FP32", ["batch", 1])],
        initializer=[axes],
    )
    tensors = {"values": ("FP32", (-1,))}, {"total": ("FP32", (1,))}
    return _write(root, name, graph, _config(name, MAX_BATCH, *tensors))


def write_identities(root: Path, name: str, datatypes: Sequence[str], *, batch: bool) -> Path:
    """Several in one worker: `out_fp32` is `in_fp32`, and so on, as in `write_identity`."""
    from onnx import helper

    shape = ["batch", "n"] if batch else ["n"]
    inputs = {f"in_{datatype.lower()}": datatype for datatype in datatypes}
    outputs = {f"out_{datatype.lower()}": datatype for datatype in datatypes}
    graph = helper.make_graph(
        [helper.make_node("Identity", [i], [o]) for i, o in zip(inputs, outputs, strict=True)],
        name,
        [_value(tensor, datatype, shape) for tensor, datatype in inputs.items()],
        [_value(tensor, datatype, shape) for tensor, datatype in outputs.items()],
    )
    config = _config(
        name,
        MAX_BATCH if batch else 0,
        {tensor: (datatype, (-1,)) for tensor, datatype in inputs.items()},
        {tensor: (datatype, (-1,)) for tensor, datatype in outputs.items()},
    )
    return _write(root, name, graph, config)


def write_add_sub(root: Path, name: str = "add_sub") -> Path:
    """OUTPUT0 = INPUT0 + INPUT1 and OUTPUT1 = INPUT0 - INPUT1, INT32 [batch, 16]."""
    from onnx import helper

    names = {"inputs": ("INPUT0", "INPUT1"), "outputs": ("OUTPUT0", "OUTPUT1")}
    graph = helper.make_graph(
        [
            helper.make_node("Add", ["INPUT0", "INPUT1"], ["OUTPUT0"]),
            helper.make_node("Sub", ["INPUT0", "INPUT1"], ["OUTPUT1"]),
        ],
        name,
        [_value(tensor, "INT32", ["batch", 16]) for tensor in names["inputs"]],
        [_value(tensor, "INT32", ["batch", 16]) for tensor in names["outputs"]],
    )
    config = _config(
        name,
        MAX_BATCH,
        dict.fromkeys(names["inputs"], ("INT32", (16,))),
        dict.fromkeys(names["outputs"], ("INT32", (16,))),
    )
    return _write(root, name, graph, config)


def write_accumulator(
    root: Path,
    name: str = "accumulator",
    batching: str = "direct { }",
    *,
    initial: str = "",
    batch: bool = True,
) -> Path:
    """A stateful model: OUTPUT is the sum of what its sequence has sent as INPUT, INT32 [batch, 1].

    SEEN is INT64 [batch, 4]: the START, END and READY controls, and the correlation id. *batching*
    is the rest of its `sequence_batching`, *initial* that of its state.
    """
    controls = "\n".join(
        f'control_input {{ name: "{flag}" '
        f"control {{ kind: CONTROL_SEQUENCE_{flag} int32_false_true: [ 0, 1 ] }} }}"
        for flag in ("START", "END", "READY")
    )
    config = _config(
        name,
        MAX_BATCH if batch else 0,
        {"INPUT": ("INT32", (1,))},
        {"OUTPUT": ("INT32", (1,)), "SEEN": ("INT64", (4,))},
    )
    config += f"""
sequence_batching {{
  {batching}
  {controls}
  control_input {{
    name: "CORRID" control {{ kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_UINT64 }}
  }}
  state {{ input_name: "SUM" output_name: "SUM_NEXT" data_type: TYPE_INT32 dims: 1 {initial} }}
}}
"""
    return _write(root, name, _accumulating_graph(name, ["batch"] if batch else []), config)


def _accumulating_graph(name, batch):
    from onnx import TensorProto, helper

    shape = [*batch, 1]
    inputs = {"INPUT": "INT32", "SUM": "INT32", "CORRID": "UINT64"}
    inputs |= dict.fromkeys(("START", "END", "READY"), "INT32")
    flags = ["START", "END", "READY", "CORRID"]
    return helper.make_graph(
        [
            helper.make_node("Add", ["INPUT", "SUM"], ["OUTPUT"]),
            helper.make_node("Identity", ["OUTPUT"], ["SUM_NEXT"]),
            *(
                helper.make_node("Cast", [flag], [f"{flag}_seen"], to=TensorProto.INT64)
                for flag in flags
            ),
            helper.make_node("Concat", [f"{flag}_seen" for flag in flags], ["SEEN"], axis=-1),
        ],
        name,
        [_value(tensor, datatype, shape) for tensor, datatype in inputs.items()],
        [
            *(_value(tensor, "INT32", shape) for tensor in ("OUTPUT", "SUM_NEXT")),
            _value("SEEN", "INT64", [*batch, 4]),
        ],
    )


def write_named_sequences(root: Path, name: str = "named") -> Path:
    """Without state: ID is the correlation id, BYTES [batch, 1], and OUTPUT is INPUT."""
    from onnx import helper

    shape = ["batch", 1]
    graph = helper.make_graph(
        [
            helper.make_node("Identity", ["INPUT"], ["OUTPUT"]),
            helper.make_node("Identity", ["CORRID"], ["ID"]),
        ],
        name,
        [_value("INPUT", "INT32", shape), _value("CORRID", "BYTES", shape)],
        [_value("OUTPUT", "INT32", shape), _value("ID", "BYTES", shape)],
    )
    config = _config(
        name,
        MAX_BATCH,
        {"INPUT": ("INT32", (1,))},
        {"OUTPUT": ("INT32", (1,)), "ID": ("BYTES", (1,))},
    )
    config += """
sequence_batching {
  oldest { max_candidate_sequences: 64 }
  control_input {
    name: "CORRID" control { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_STRING }
  }
}
"""
    return _write(root, name, graph, config)


def write_slow(root: Path, name: str = "slow", *, max_batch: int = 1) -> Path:
    """A model that computes for about as many seconds as its input says.

    `seconds` and `done` are FP32 [batch, 1], and equal; a batch takes as long as its largest
    element. The rate is measured on this machine while the model is written.
    """
    graph = _spinning_graph(name, rounds_per_s=1)
    rounds_per_s = _measure_rounds_per_s(graph)
    config = _config(name, max_batch, {"seconds": ("FP32", (1,))}, {"done": ("FP32", (1,))})
    return _write(root, name, _spinning_graph(name, rounds_per_s), config)


def slow_request(seconds: float, request_id: str = "") -> pb.ModelInferRequest:
    """A request for *seconds* of the model `write_slow`."""
    import numpy as np

    request = pb.ModelInferRequest(model_name="slow", id=request_id)
    request.inputs.add(name="seconds", datatype="FP32", shape=[1, 1])
    request.raw_input_contents.append(np.float32(seconds).tobytes())
    return request


_SIDE = 64
"""Rows and columns of the matrix that rounds multiply."""


def _spinning_graph(name, rounds_per_s):
    """Round after round of a matrix product that no optimizer can leave out."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    mixing = numpy_helper.from_array(np.eye(_SIDE, dtype=np.float32), "mixing")
    rate = numpy_helper.from_array(np.array(rounds_per_s, dtype=np.float32), "rate")
    zero = numpy_helper.from_array(np.array(0, dtype=np.float32), "zero")
    nodes = [
        helper.make_node("ReduceMax", ["seconds"], ["longest"], keepdims=0),
        helper.make_node("Mul", ["longest", "rate"], ["rounds_float"]),
        helper.make_node("Cast", ["rounds_float"], ["rounds"], to=TensorProto.INT64),
        helper.make_node("Loop", ["rounds", "", "mixing"], ["last"], body=_round()),
        helper.make_node("ReduceMax", ["last"], ["one"], keepdims=0),
        helper.make_node("Mul", ["one", "zero"], ["nothing"]),
        helper.make_node("Add", ["seconds", "nothing"], ["done"]),
    ]
    return helper.make_graph(
        nodes,
        name,
        [_value("seconds", "FP32", ["batch", 1])],
        [_value("done", "FP32", ["batch", 1])],
        initializer=[mixing, rate, zero],
    )


def _round():
    """One matrix product, as the body of a loop."""
    from onnx import TensorProto, helper

    return helper.make_graph(
        [
            helper.make_node("MatMul", ["state", "mixing"], ["next_state"]),
            helper.make_node("Identity", ["go_on"], ["go_on_out"]),
        ],
        "round",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, [_SIDE, _SIDE]),
        ],
        [
            helper.make_tensor_value_info("go_on_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next_state", TensorProto.FLOAT, [_SIDE, _SIDE]),
        ],
    )


def _measure_rounds_per_s(graph, rounds=20_000):
    import numpy as np
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(
        _model(graph).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    began = time.perf_counter()
    session.run(None, {"seconds": np.array([[rounds]], dtype=np.float32)})
    return rounds / (time.perf_counter() - began)


def _value(name, datatype, shape):
    from onnx import TensorProto, helper

    return helper.make_tensor_value_info(name, getattr(TensorProto, _ONNX_TYPES[datatype]), shape)


def _model(graph):
    from onnx import checker, helper

    # Versions that every supported ONNX Runtime reads.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    checker.check_model(model)
    return model


def _config(name, max_batch, inputs, outputs):
    lines = [f'name: "{name}"', 'platform: "onnxruntime_onnx"', f"max_batch_size: {max_batch}"]
    for kind, tensors in (("input", inputs), ("output", outputs)):
        for tensor, (datatype, dims) in tensors.items():
            config_type = "STRING" if datatype == "BYTES" else datatype
            lines.append(
                f'{kind} {{ name: "{tensor}" data_type: TYPE_{config_type} dims: {list(dims)} }}'
            )
    return "\n".join(lines) + "\n"


def _write(root, name, graph, config):
    entry = root / name
    (entry / "1").mkdir(parents=True)
    (entry / "1" / "model.onnx").write_bytes(_model(graph).SerializeToString())
    (entry / "config.pbtxt").write_text(config)
    return entry


def write_wide(root: Path, name: str = "wide", mib: int = 8) -> Path:
    """`output` is `input` (one FP32) many times: little goes in, and *mib* MiB come out."""
    from onnx import helper

    count = (mib << 20) // 4
    shape = helper.make_tensor("shape", 7, [1], [count])
    graph = helper.make_graph(
        [helper.make_node("Expand", ["input", "shape"], ["output"])],
        name,
        [_value("input", "FP32", [1])],
        [_value("output", "FP32", [count])],
        [shape],
    )
    config = _config(name, 0, {"input": ("FP32", (1,))}, {"output": ("FP32", (count,))})
    return _write(root, name, graph, config)
