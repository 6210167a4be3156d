"""Models whose config.pbtxt says more than the artifact: entries of a model repository."""

import numpy as np
from support.models.pipelines import constant, node, onnx_graph, value, write_onnx


def write_reshaped(root, name="reshaped"):
    """`y` is 1 to 6 times `x`; the artifact has x as [rows] and y as [rows, 2, 3]."""
    graph = onnx_graph(
        [node("Unsqueeze", "x axes", "column"), node("Mul", "column factors", "y")],
        [value("x", shape=["rows"])],
        [value("y", shape=["rows", 2, 3])],
        [
            constant("axes", np.array([1, 2], np.int64)),
            constant("factors", np.arange(1, 7, dtype=np.float32).reshape(2, 3)),
        ],
    )
    return _write(
        root,
        name,
        graph,
        """
        max_batch_size: 8
        input { name: "x" data_type: TYPE_FP32 dims: 1 reshape { shape: [ ] } }
        output { name: "y" data_type: TYPE_FP32 dims: 6 reshape { shape: [ 2, 3 ] } }
        dynamic_batching { max_queue_delay_microseconds: 20000 }
        metric_tags { key: "team" value: "vision" }
        """,
    )


def write_optional(root, name="optional"):
    """`y` = `x` + `bias`, which is ten where it is left out; FP32 [rows, 2]."""
    graph = onnx_graph(
        [node("Add", "x bias", "y")],
        [value("x", shape=["rows", 2]), value("bias", shape=["biases", 2])],
        [value("y", shape=["rows", 2])],
        [constant("bias", np.full((1, 2), 10, np.float32))],
    )
    return _write(
        root,
        name,
        graph,
        """
        max_batch_size: 8
        input { name: "x" data_type: TYPE_FP32 dims: 2 }
        input { name: "bias" data_type: TYPE_FP32 dims: 2 optional: true }
        output { name: "y" data_type: TYPE_FP32 dims: 2 }
        dynamic_batching { max_queue_delay_microseconds: 20000 }
        optimization { graph { level: 1 } eager_batching: true }
        parameters { key: "execution_mode" value { string_value: "1" } }
        """,
    )


_USUAL = """
model_warmup {
  name: "usual" batch_size: 4 count: 2
  inputs { key: "x" value { data_type: TYPE_INT64 dims: 1 input_data_file: "x.raw" } }
}
"""


def write_picky(root, name, sample=None):
    """`y` is the element 100 - `x` of ten: it runs for 91 to 100, and not on zeros.

    *sample*: what its worker warms up with; None for nothing.
    """
    graph = onnx_graph(
        [node("Sub", "hundred x", "at"), node("Gather", "ten at", "y")],
        [value("x", "INT64", ["rows", 1])],
        [value("y", "INT64", ["rows", 1])],
        [
            constant("hundred", np.array(100, np.int64)),
            constant("ten", np.arange(10, dtype=np.int64)),
        ],
    )
    entry = _write(
        root,
        name,
        graph,
        """
        max_batch_size: 8
        input { name: "x" data_type: TYPE_INT64 dims: 1 }
        output { name: "y" data_type: TYPE_INT64 dims: 1 }
        """
        + ("" if sample is None else _USUAL),
    )
    if sample is None:
        return entry
    (entry / "warmup").mkdir()
    (entry / "warmup" / "x.raw").write_bytes(np.array([sample], "<i8").tobytes())
    return entry


def write_together(root, name="together"):
    """An ensemble over the models above, each fed by an input of its own."""
    (root / name / "1").mkdir(parents=True)
    (root / name / "config.pbtxt").write_text(
        """
        platform: "ensemble"
        max_batch_size: 8
        input { name: "one" data_type: TYPE_FP32 dims: 1 }
        input { name: "two" data_type: TYPE_FP32 dims: 2 }
        input { name: "hundred" data_type: TYPE_INT64 dims: 1 }
        output { name: "six" data_type: TYPE_FP32 dims: 6 }
        output { name: "biased" data_type: TYPE_FP32 dims: 2 }
        output { name: "element" data_type: TYPE_INT64 dims: 1 }
        ensemble_scheduling {
          step { model_name: "reshaped" model_version: -1
            input_map { key: "x" value: "one" } output_map { key: "y" value: "six" } }
          step { model_name: "optional" model_version: -1
            input_map { key: "x" value: "two" } output_map { key: "y" value: "biased" } }
          step { model_name: "warmed" model_version: -1
            input_map { key: "x" value: "hundred" } output_map { key: "y" value: "element" } }
        }
        """
    )


def _write(root, name, graph, config):
    entry = root / name
    (entry / "1").mkdir(parents=True)
    write_onnx(entry / "1", graph)
    (entry / "config.pbtxt").write_text(config)
    return entry
