"""Exports of other tools, out of the archive beside, and what ONNX Runtime computes with them."""

import json
import tarfile
from pathlib import Path

import numpy as np

ARCHIVE = Path(__file__).parent / "exports.tar.xz"


def unpacked(folder):
    """All exports, each in a folder of its name."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder


class Original:
    """An export, run as it is, on the CPU."""

    def __init__(self, folder):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            folder / "model.onnx", options, providers=["CPUExecutionProvider"]
        )

    def logits(self, tokens):
        """Behind each of *tokens*: a row of logits."""
        return self._run(tokens, self._empty())[0]

    def greedy(self, prompt, count):
        """The next *count* tokens, by its own cache, and how far each was ahead of the second."""
        cache, tokens, found, ahead = self._empty(), list(prompt), [], []
        for _ in range(count):
            logits, cache = self._run(tokens, cache)
            best = np.sort(logits[-1])[-2:]
            ahead.append(float(best[1] - best[0]))
            found.append(int(logits[-1].argmax()))
            tokens = found[-1:]
        return found, ahead

    def _empty(self):
        kinds = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
        return {
            one.name: np.zeros((1, one.shape[1], 0, self._size(one)), kinds[one.type])
            for one in self._session.get_inputs()
            if one.name.startswith("past")
        }

    def _size(self, one):
        return one.shape[3] if isinstance(one.shape[3], int) else 16

    def _run(self, tokens, cache):
        before = next(iter(cache.values())).shape[2]
        total = before + len(tokens)
        feeds = {
            "input_ids": np.array([tokens], np.int64),
            "attention_mask": np.ones((1, total), np.int64),
            "position_ids": np.arange(before, total)[None],
            **cache,
        }
        names = [one.name for one in self._session.get_inputs()]
        outputs = [one.name for one in self._session.get_outputs()]
        found = self._session.run(outputs, {name: feeds[name] for name in names})
        there = dict(zip(outputs, found, strict=True))
        later = {
            name: there[name.replace("past_key_values", "present")]
            for name in names
            if name.startswith("past")
        }
        return there["logits"][0].astype(np.float32), later


def refusals():
    """What ONNX Runtime raises for a graph that it does not run."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    names = "Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "RuntimeException"
    return (*(getattr(state, name) for name in names), state.NotImplemented)


def products_of_bits(folder):
    """Name of a matrix -> float32[outputs, inputs], as ONNX Runtime's `MatMulNBits` has it.

    The operation multiplies the identity, in fp32: what comes out is the matrix.
    """
    import onnx

    model = onnx.load(folder / "model.onnx")
    arrays = {one.name: one for one in model.graph.initializer}
    found = {}
    for node in model.graph.node:
        if node.op_type == "MatMulNBits":
            found[node.input[1]] = _dequantized(node, arrays)
    return found


def _dequantized(node, arrays):
    import onnx
    import onnxruntime
    from onnx import helper

    say = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    alone = onnx.NodeProto()
    alone.CopyFrom(node)
    alone.input[0], alone.output[0] = "x", "y"
    for one in alone.attribute:
        if one.name == "accuracy_level":
            one.i = 0
    graph = helper.make_graph(
        [alone],
        "alone",
        [helper.make_tensor_value_info("x", 1, [say["K"], say["K"]])],
        [helper.make_tensor_value_info("y", 1, [say["K"], say["N"]])],
        [arrays[name] for name in node.input[1:] if name],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (product,) = session.run(None, {"x": np.eye(say["K"], dtype=np.float32)})
    return product.T


def changed(folder, change):
    """*folder* with its graph as *change* leaves it."""
    import onnx

    model = onnx.load(folder / "model.onnx", load_external_data=False)
    change(model.graph)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder


def with_json(folder, name="config.json", **fields):
    """*folder* with other fields in one of its JSON files."""
    path = folder / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    return folder
