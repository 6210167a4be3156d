"""ONNX models are cut into stages that a pipeline serves as it would the whole model."""

import numpy as np
import onnx
import onnxruntime
import pytest
from support.models.pipelines import (
    Served,
    chain,
    constant,
    cut_onnx,
    node,
    onnx_graph,
    value,
    weight,
    write_onnx,
)

from penstock.sharding.onnx.model import read_model
from penstock.sharding.onnx.stages import write_stage
from penstock.tensors import bf16_from_float32, float32_from_bf16


@pytest.fixture
def cut(tmp_path):
    """Cuts a graph and serves the stages: ``cut(graph, 2)`` -> the report, and what serves."""

    def run(graph, stages, *inputs, **options):
        path = write_onnx(tmp_path, graph, **options)
        report = cut_onnx(path, stages, tmp_path / "models" / "m" / "1", *inputs)
        return report, Served(tmp_path / "models", "m")

    return run


def answers_alike(tmp_path, served, request):
    """The pipeline against ONNX Runtime on the whole file."""
    session = onnxruntime.InferenceSession(
        str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    expected = dict(zip(names, session.run(names, request), strict=True))
    actual = served.infer(request)
    assert served.outputs == names
    for name in names:
        np.testing.assert_allclose(actual[name], expected[name], rtol=1e-5, atol=1e-6)
    return True


def rows(count, width=8):
    return np.random.default_rng(count).standard_normal((count, width)).astype(np.float32)


def read_stage(tmp_path, place):
    path = tmp_path / "models" / "m" / "1" / f"shard-{place}.onnx"
    model = onnx.load(str(path))
    onnx.checker.check_model(model, full_check=True)
    return model


def test_a_chain_is_cut_between_its_weights(cut, tmp_path):
    graph = chain("MatMul x a h", "Relu h r", "MatMul r b y")

    report, served = cut(graph, 2)

    first, last = report.stages
    assert (first.cut_after, first.crossing, first.crossing_bytes) == ("MatMul:h", ("h",), 32)
    assert (first.parameters, first.parameter_bytes, last.parameters) == (64, 256, 64)
    assert report.verification.batch_sizes == (1, 2, 5)
    assert answers_alike(tmp_path, served, {"x": rows(3)})


def test_the_stages_batch_as_the_whole_model_would(cut):
    _, served = cut(chain("MatMul x a h", "MatMul h b y"), 2)

    assert served.deployment.config.max_batch_size == 64
    assert served.deployment.config.platform == "penstock_pipeline"
    assert served.infer({"x": rows(64)})["y"].shape == (64, 8)


def test_a_stage_holds_what_onnx_utils_extracts_between_the_same_tensors(cut, tmp_path):
    graph = chain("MatMul x a h", "Relu h r", "Add r x s", "MatMul s b g", "Add g h y")

    report, _ = cut(graph, 2)

    whole = onnx.shape_inference.infer_shapes(onnx.load(str(tmp_path / "model.onnx")))
    extractor = onnx.utils.Extractor(whole)
    for stage in report.stages:
        wanted = extractor.extract_model(
            [tensor.name for tensor in stage.inputs], [tensor.name for tensor in stage.outputs]
        ).graph
        found = read_stage(tmp_path, stage.stage).graph
        assert list(found.node) == list(wanted.node)
        assert [t.name for t in found.initializer] == [t.name for t in wanted.initializer]


def test_a_residual_connection_goes_over_all_cuts(cut, tmp_path):
    graph = chain("MatMul x a h", "MatMul h b g", "MatMul g c k", "Add k h s", "Add s x y")

    report, served = cut(graph, 3)

    assert [stage.crossing for stage in report.stages] == [("x", "h"), ("x", "h", "g"), ()]
    assert answers_alike(tmp_path, served, {"x": rows(2)})


def test_a_shared_weight_is_in_both_stages(cut, tmp_path):
    report, served = cut(chain("MatMul x a h", "Relu h r", "MatMul r a y"), 2)

    assert [stage.parameters for stage in report.stages] == [64, 64]
    assert answers_alike(tmp_path, served, {"x": rows(2)})


def test_several_inputs_and_outputs(cut, tmp_path):
    """`late` is read by the second stage alone; `early` is made by the first."""
    graph = chain(
        "MatMul x a early",
        "Add early late h",
        "MatMul h b y",
        inputs=[value("x"), value("late")],
        outputs=("early", "y"),
    )

    report, served = cut(graph, 2)

    assert [[t.name for t in stage.outputs] for stage in report.stages] == [
        ["early_early"],
        ["early", "y"],
    ]
    assert served.inputs == ["x", "late"]
    assert answers_alike(tmp_path, served, {"x": rows(3), "late": rows(3) * 2})


def test_an_input_passed_through_is_still_an_output(cut, tmp_path):
    graph = chain("Identity x same", "MatMul x a h", "MatMul h b y", outputs=("same", "y"))

    _, served = cut(graph, 2)

    assert answers_alike(tmp_path, served, {"x": rows(3)})


def test_one_stage_is_the_whole_model(cut, tmp_path):
    report, served = cut(chain("MatMul x a h", "MatMul h b y", outputs=("h", "y")), 1)

    assert len(report.stages) == 1
    assert report.stages[0].cut_after is None
    assert answers_alike(tmp_path, served, {"x": rows(3)})


def test_text_travels(cut):
    """BYTES from the request to the second stage, and between the stages."""
    graph = onnx_graph(
        [
            node("Identity", "text", "copy"),
            node("MatMul", "x a", "h"),
            node("MatMul", "h b", "y"),
            node("Identity", "copy", "copied"),
        ],
        [value("text", "STRING", ["n", 2]), value("x")],
        [value("y"), value("copied", "STRING", ["n", 2])],
        [weight("a"), weight("b")],
    )
    text = np.array([[b"", "ä".encode()], [b"b", b"c"]], dtype=object)

    report, served = cut(graph, 2)

    answer = served.infer({"text": text, "x": rows(2)})
    assert "copy" in report.stages[0].crossing or "text" in report.stages[0].crossing
    assert answer["copied"].tolist() == text.tolist()


def test_indexes_of_any_length(cut, tmp_path):
    graph = onnx_graph(
        [
            node("Gather", "table tokens", "words"),
            node("MatMul", "words a", "h"),
            node("ReduceMean", "h", "y", axes=[1], keepdims=0),
        ],
        [value("tokens", "INT64", ["n", "length"])],
        [value("y")],
        [weight("table", 16, 8), weight("a")],
    )

    report, served = cut(graph, 2)

    assert [t.shape for t in report.stages[0].outputs] == [[-1, -1, 8]]
    assert answers_alike(tmp_path, served, {"tokens": np.array([[1, 2, 15], [0, 3, 4]])})


def reshaped(*, length):
    """The size of x is looked at before the cut, and used after it."""
    return onnx_graph(
        [
            node("Shape", "x", "sizes"),
            node("Gather", "sizes zero", "rows"),
            node("MatMul", "x a", "h"),
            node("MatMul", "h b", "g"),
            node("Concat", "rows rest", "target", axis=0),
            node("Reshape", "g target", "y"),
        ],
        [value("x", "FLOAT", ["n", length, 8])],
        [value("y", "FLOAT", ["n", None, 2])],
        [
            weight("a"),
            weight("b"),
            constant("zero", np.array([0])),
            constant("rest", np.array([-1, 2])),
        ],
    )


@pytest.mark.parametrize("length", [3, "length"])
def test_a_stage_reads_sizes_from_its_own_inputs(cut, tmp_path, length):
    _, served = cut(reshaped(length=length), 2)

    stage = read_stage(tmp_path, 1)
    assert [tensor.name for tensor in stage.graph.input] == ["h"]
    assert [node.input[0] for node in stage.graph.node if node.op_type == "Shape"]
    assert answers_alike(tmp_path, served, {"x": rows(15).reshape(5, 3, 8)})


def test_tensors_that_subgraphs_capture_come_along(cut, tmp_path):
    """The branches read h and b, which no node of the graph itself reads."""
    then = onnx_graph([node("MatMul", "h b", "large")], [], [value("large")])
    otherwise = onnx_graph([node("Neg", "h", "small")], [], [value("small")])
    graph = onnx_graph(
        [
            node("MatMul", "x a", "h"),
            node("ReduceSum", "x", "sum", keepdims=0),
            node("Greater", "sum zero", "is_large"),
            node("If", "is_large", "y", then_branch=then, else_branch=otherwise),
        ],
        [value("x")],
        [value("y")],
        [weight("a"), weight("b"), constant("zero", np.float32(0))],
    )

    _, served = cut(graph, 2)

    assert answers_alike(tmp_path, served, {"x": np.abs(rows(2))})
    assert answers_alike(tmp_path, served, {"x": -np.abs(rows(2))})


def test_nodes_may_come_in_any_order(cut):
    graph = chain("MatMul x a h", "Relu h r", "MatMul r b y")
    nodes = list(graph.node)[::-1]
    del graph.node[:]
    graph.node.extend(nodes)

    report, served = cut(graph, 2)

    assert report.stages[0].cut_after == "MatMul:h"
    assert served.infer({"x": rows(2)})["y"].shape == (2, 8)


def test_constant_nodes_weigh_as_weights_do(cut):
    graph = onnx_graph(
        [
            node("Constant", "", "a", value=weight("a")),
            node("MatMul", "x a", "h"),
            node("MatMul", "h b", "y"),
        ],
        [value("x")],
        [value("y")],
        [weight("b")],
    )

    report, _ = cut(graph, 2)

    assert [stage.parameters for stage in report.stages] == [64, 64]


def test_weights_listed_among_the_inputs_are_weights(cut, tmp_path):
    """As files before IR version 4 have them."""
    graph = chain("MatMul x a h", "MatMul h b y")
    graph.input.extend([value("a", shape=(8, 8)), value("b", shape=(8, 8))])

    _, served = cut(graph, 2)

    assert served.inputs == ["x"]
    assert answers_alike(tmp_path, served, {"x": rows(2)})


def test_a_model_of_fixed_size_is_cut_without_a_batch(cut, tmp_path):
    graph = chain("MatMul x a h", "MatMul h b y", inputs=[value("x", shape=(2, 8))])

    report, served = cut(graph, 2)

    assert report.verification.batch_sizes == ()
    assert served.deployment.config.max_batch_size == 0
    assert answers_alike(tmp_path, served, {"x": rows(2)})


def test_sizes_that_inference_leaves_open_are_found_by_running(cut):
    """Inference cannot tell what Reshape makes of a computed target."""
    report, _ = cut(reshaped(length=3), 3)

    assert report.stages[1].crossing == ("g",)
    assert report.stages[1].outputs[0].shape == [-1, 3, 8]


def test_bfloat16_travels(cut):
    graph = onnx_graph(
        [
            node("Cast", "x", "wide", to=onnx.TensorProto.FLOAT),
            node("MatMul", "wide a", "h"),
            node("Cast", "h", "narrow", to=onnx.TensorProto.BFLOAT16),
            node("Cast", "narrow", "again", to=onnx.TensorProto.FLOAT),
            node("MatMul", "again b", "k"),
            node("Cast", "k", "y", to=onnx.TensorProto.BFLOAT16),
        ],
        [value("x", "BFLOAT16")],
        [value("y", "BFLOAT16")],
        [weight("a"), weight("b")],
    )

    report, served = cut(graph, 2)

    answer = served.infer({"x": bf16_from_float32(rows(3))})["y"]
    assert report.stages[0].crossing_bytes == 16  # cheaper than 32 in FP32
    assert report.stages[0].outputs[0].datatype == "BF16"
    assert np.isfinite(float32_from_bf16(answer)).all()


def test_external_weights_are_taken_in(cut, tmp_path):
    graph = chain("MatMul x a h", "MatMul h b y")

    _, served = cut(graph, 2, save_as_external_data=True, location="w.bin", size_threshold=0)

    assert {path.name for path in (tmp_path / "models" / "m" / "1").iterdir()} == {
        "shard-0.onnx",
        "shard-1.onnx",
    }
    assert answers_alike(tmp_path, served, {"x": rows(2)})


def test_weights_that_are_too_large_for_one_file_stay_beside_it(tmp_path):
    path = write_onnx(
        tmp_path,
        onnx_graph([node("MatMul", "x a", "y")], [value("x", shape=("n", 64))], [value("y")],
                   [weight("a", 64, 64)]),
    )  # fmt: skip
    model = read_model(path, {})
    (tmp_path / "models" / "m" / "1").mkdir(parents=True)
    target = tmp_path / "models" / "m" / "1" / "shard-0.onnx"

    write_stage(model, _only_stage(model), target, inline_bytes=1)

    served = Served(tmp_path / "models", "m")
    assert target.with_name("shard-0.onnx.data").stat().st_size >= 64 * 64 * 4
    assert answers_alike(tmp_path, served, {"x": rows(2, 64)})


def _only_stage(model):
    from penstock.sharding.graph import Sequenced

    return Sequenced(model.graph).stages(())[0]


def test_a_new_cut_replaces_the_earlier_one(cut, tmp_path):
    graph = chain("MatMul x a h", "MatMul h b g", "MatMul g c y")
    cut(graph, 3)

    _, served = cut(graph, 2)

    assert len(served.version.stages) == 2
    assert answers_alike(tmp_path, served, {"x": rows(2)})
