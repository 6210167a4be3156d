"""The torch runtime runs every datatype, and says whose fault it is when it cannot."""

import numpy as np
import pytest
import torch
from support.models.pipelines import CPU, export
from torch import nn

from penstock.errors import ArtifactUnusable
from penstock.tensors import NUMPY_TYPES
from penstock.workers.runtimes.opening import TORCH, open_runtime
from penstock.workers.runtimes.pt2_signature import (
    DATATYPE_NAMES,
    EXTRA_FILE,
    TensorSignature,
    write_extra,
)
from penstock.workers.runtimes.runtime import DeviceRef, InputRejected

BATCH = {0: torch.export.Dim("batch")}
ONES = np.ones((4, 3), np.float32)


class Copy(nn.Module):
    def forward(self, x):
        return x.clone()


class Difference(nn.Module):
    def forward(self, x, y):
        return x - y


@pytest.fixture
def difference(tmp_path):
    samples = torch.zeros(2, 3), torch.zeros(2, 3)  # the same one twice would be one input
    return export(tmp_path / "model.pt2", Difference(), *samples, dynamic_shapes=(BATCH, BATCH))


def opened(path):
    return open_runtime(path, TORCH, CPU)


@pytest.mark.parametrize("dtype", sorted(DATATYPE_NAMES))
def test_every_datatype_goes_in_and_out(tmp_path, dtype):
    datatype = DATATYPE_NAMES[dtype]
    sample = torch.zeros(2, 3, dtype=getattr(torch, dtype.removeprefix("torch.")))
    path = export(tmp_path / "model.pt2", Copy(), sample, dynamic_shapes=(BATCH,))
    # Read-only and not contiguous, as a request's bytes may be.
    numbers = np.frombuffer(np.arange(12).astype(NUMPY_TYPES[datatype]).tobytes(), np.uint8)
    array = numbers.view(NUMPY_TYPES[datatype]).reshape(2, 6)[:, ::2]

    runtime = opened(path)

    output = runtime.run({"x": array}, ["output"])["output"]
    assert [(spec.name, spec.datatype, list(spec.shape)) for spec in runtime.signature.inputs] == [
        ("x", datatype, [-1, 3])
    ]
    assert output.dtype == NUMPY_TYPES[datatype]
    assert output.tolist() == array.tolist()


def test_an_empty_batch_is_a_batch(difference):
    empty = np.empty((0, 3), np.float32)

    assert opened(difference).run({"x": empty, "y": empty}, ["output"])["output"].shape == (0, 3)


def test_inputs_go_by_name_not_by_order(difference):
    answer = opened(difference).run({"y": ONES, "x": 3 * ONES}, ["output"])

    assert answer["output"].tolist() == (2 * ONES).tolist()


def test_keyword_arguments_of_the_export_are_inputs_too(tmp_path):
    path = export(
        tmp_path / "model.pt2",
        Difference(),
        kwargs={"y": torch.zeros(2, 3), "x": torch.zeros(2, 3)},
        dynamic_shapes={"y": BATCH, "x": BATCH},
    )

    answer = opened(path).run({"x": 3 * ONES, "y": ONES}, ["output"])

    assert answer["output"].tolist() == (2 * ONES).tolist()


class Nested(nn.Module):
    def forward(self, x, factor, more):
        return {"a": x * factor, "b": (more["p"] + 1, more["q"][0] - x)}


def test_nested_arguments_and_results_are_flat_on_the_wire(tmp_path):
    """A number that was an argument of the export is as it was then."""
    path = export(
        tmp_path / "model.pt2",
        Nested(),
        torch.zeros(2, 3),
        5,
        {"p": torch.zeros(2, 3), "q": [torch.zeros(2, 3)]},
        dynamic_shapes=(BATCH, None, {"p": BATCH, "q": [BATCH]}),
    )

    runtime = opened(path)

    names = [spec.name for spec in runtime.signature.inputs]
    answer = runtime.run(dict.fromkeys(names, ONES), ["a", "b_0", "b_1"])
    assert names == ["x", "more_p", "more_q_0"]
    assert [array[0, 0] for array in answer.values()] == [5, 2, 0]


class Two(nn.Module):
    def forward(self, x):
        return x + 1, x + 2


def test_only_the_outputs_that_are_asked_for_are_answered(tmp_path):
    path = export(tmp_path / "model.pt2", Two(), torch.zeros(2, 3), dynamic_shapes=(BATCH,))

    answer = opened(path).run({"x": ONES}, ["output_1"])

    assert {name: array[0, 0] for name, array in answer.items()} == {"output_1": 3}


class Named(nn.Module):
    def forward(self, x):
        return {"logits": x + 1, "none": None, "aux": [x + 2, {"deep": x + 3}]}


class Recurrent(nn.Module):
    """It reads and writes a state of one name, which stages would take for one tensor."""

    def forward(self, x):
        return {"y": x + 1, "x": x + 2}


class Ambiguous(nn.Module):
    def forward(self, x):
        return {"a": [x + 1], "a_0": x + 2}


@pytest.mark.parametrize(
    ("module", "names"),
    [
        (Named(), ["logits", "aux_0", "aux_1_deep"]),
        (Recurrent(), ["y", "x_out"]),
        (Ambiguous(), ["output_0", "output_1"]),
    ],
)
def test_outputs_of_a_dict_keep_their_names(tmp_path, module, names):
    path = export(tmp_path / "model.pt2", module, torch.zeros(2, 3), dynamic_shapes=(BATCH,))

    runtime = opened(path)
    answer = runtime.run({"x": ONES}, names)

    assert [spec.name for spec in runtime.signature.outputs] == names
    assert [array[0, 0] for array in answer.values()] == [2 + at for at in range(len(names))]
    assert runtime.dimensions.keys() == {"x", *names}


def test_names_come_from_inside_the_file(tmp_path):
    extra = write_extra(
        [TensorSignature("image", "FP32", (-1, 3))],
        [TensorSignature("up", "FP32", (-1, 3)), TensorSignature("more", "FP32", (-1, 3))],
    )
    path = export(
        tmp_path / "model.pt2",
        Two(),
        torch.zeros(2, 3),
        dynamic_shapes=(BATCH,),
        extra={EXTRA_FILE: extra},
    )

    runtime = opened(path)

    assert [spec.name for spec in runtime.signature.inputs] == ["image"]
    assert list(runtime.run({"image": ONES}, ["more", "up"])) == ["more", "up"]


class Holding(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(5, 2)
        self.register_buffer("scale", torch.ones(2))
        self.plain = torch.ones(1)

    def forward(self, i):
        return self.table(i) * self.scale + self.plain


@pytest.fixture
def holding(tmp_path):
    sample = torch.zeros(2, 3, dtype=torch.long)
    return opened(export(tmp_path / "model.pt2", Holding(), sample, dynamic_shapes=(BATCH,)))


def test_parameters_buffers_and_constants_are_counted(holding):
    assert holding.signature.parameter_bytes == 4 * (5 * 2 + 2 + 1)


class TestBadInput:
    @pytest.mark.parametrize(
        ("x", "y", "words"),
        [
            (ONES[:, :2], ONES[:, :2], r"x\.size\(\)\[1\] == 3"),
            (ONES, ONES[:2], r"y\.size\(\)\[0\] == x\.size\(\)\[0\]"),
            (ONES[0], ONES[0], "index out of range"),
            (ONES, None, "input 'y' is missing"),
        ],
    )
    def test_is_rejected_on_one_line(self, difference, x, y, words):
        request = {name: array for name, array in (("x", x), ("y", y)) if array is not None}

        with pytest.raises(InputRejected, match=words) as caught:
            opened(difference).run(request, ["output"])

        assert "\n" not in str(caught.value)

    def test_an_index_past_the_end(self, holding):
        with pytest.raises(InputRejected, match="index out of range"):
            holding.run({"i": np.full((1, 3), 5)}, ["output"])


class Numbered(nn.Module):
    def forward(self, x):
        return x.clone(), 3


class TestUnusable:
    def test_missing(self, tmp_path):
        with pytest.raises(ArtifactUnusable, match=r"model\.pt2 is missing: put it back"):
            opened(tmp_path / "model.pt2")

    @pytest.mark.parametrize("keep", [0, 100, -100])
    def test_damaged(self, difference, keep, caplog):
        difference.write_bytes(difference.read_bytes()[:keep])

        with pytest.raises(ArtifactUnusable, match=r"model\.pt2 is not a program .* copy it again"):
            opened(difference)

        assert [record for record in caplog.records if record.name == "torch.export"] == []

    def test_weights_saved_without_a_program(self, tmp_path):
        torch.save(Holding().state_dict(), tmp_path / "model.pt2")

        with pytest.raises(ArtifactUnusable, match=r"write it anew with torch\.export\.save"):
            opened(tmp_path / "model.pt2")

    def test_an_output_that_is_no_tensor(self, tmp_path):
        path = export(tmp_path / "model.pt2", Numbered(), torch.zeros(2, 3))

        with pytest.raises(ArtifactUnusable, match=r"^model\.pt2: output 1 .* plain tensors$"):
            opened(path)

    @pytest.mark.parametrize(
        ("extra", "words"),
        [
            ("{", "is not JSON"),
            ("[]", "lacks its inputs"),
            ('{"inputs": [{"name": "x", "datatype": "FP32"}]}', "lacks its outputs"),
            ('{"inputs": [{"name": "x", "datatype": "FP64"}]}', "describes other inputs"),
            ('{"inputs": []}', "describes other inputs"),
            (
                write_extra(
                    [TensorSignature("x", "FP32", ())], [TensorSignature("a", "FP32", ())] * 2
                ),
                "names two outputs alike",
            ),
        ],
    )
    def test_a_description_of_something_else(self, tmp_path, extra, words):
        path = export(tmp_path / "model.pt2", Two(), torch.zeros(2, 3), extra={EXTRA_FILE: extra})

        with pytest.raises(ArtifactUnusable, match=rf"^model\.pt2: penstock\.json .*{words}"):
            opened(path)

    @pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
    def test_a_gpu_that_is_not_there(self, difference):
        with pytest.raises(
            ArtifactUnusable, match="sees no GPU; install a CUDA build of torch, or"
        ):
            open_runtime(difference, TORCH, DeviceRef("cuda", 0, 1))
