"""Requests share a run where nobody says so only if rows together equal rows apart."""

import numpy as np
import pytest
from support.clients.infer_requests import spec
from support.models.bare_models import BARE, write_bare
from support.models.pipelines import CPU, constant, node, onnx_graph, value, weight, write_onnx
from support.records import signature

from penstock.workers.loading.batch_dimension import NotProved, batch_dimension
from penstock.workers.loading.batch_proof import prove
from penstock.workers.runtimes.opening import open_runtime
from penstock.workers.runtimes.runtime import InputRejected

TABLE = spec("x", "FP32", -1, 4)
ONE = signature([TABLE], [spec("y", "FP32", -1, 4)])
NAMED = {"x": ("batch", "4"), "y": ("batch", "4")}


class Shard:
    """A shard that is a function of arrays."""

    any_thread = True

    def __init__(self, function, what=ONE, dimensions=None):
        self.signature, self._function = what, function
        self.dimensions = NAMED if dimensions is None else dimensions
        self.rows = []

    def run(self, inputs, outputs):
        self.rows.append(max(len(array) for array in inputs.values()))
        found = self._function(*inputs.values())
        return dict(zip(outputs, found if isinstance(found, tuple) else (found,), strict=True))


def tried(function, *rest):
    return prove(Shard(function, *rest), "cpu")


def loaded(path):
    kind = "pytorch" if path.suffix == ".pt2" else "onnxruntime"
    return open_runtime(path, kind, CPU)


@pytest.mark.parametrize("name", BARE)
def test_only_what_keeps_rows_apart_is_proved(tmp_path, name):
    found = prove(loaded(write_bare(tmp_path, name)), "cpu")

    assert found.proved == BARE[name].batched, found.why
    assert found.why


def test_it_is_said_what_was_seen():
    assert tried(lambda x: x * 2).why == (
        "dimension 0 is 'batch' everywhere, and rows run together equal rows run apart"
    )


def test_it_runs_a_few_rows_at_two_sizes():
    """Many rows of a large model would need memory that nobody has asked for yet."""
    shard = Shard(lambda x: x)

    prove(shard, "cpu")

    assert sorted(set(shard.rows)) == [1, 2, 3]


class TestValues:
    @pytest.mark.parametrize(
        "mixing",
        [
            lambda x: x - x.mean(axis=0),
            lambda x: np.sort(x, axis=0),
            lambda x: np.maximum.accumulate(x, axis=0),
            lambda x: x[::-1].copy(),
            lambda x: x + 0.01 * x.sum(axis=0),
            lambda x: x / np.abs(x).max(),
            lambda x: 1e-6 * (x - x.mean(axis=0)),
        ],
        ids=["mean", "sort", "maximum", "reverse", "a little", "scale", "tiny numbers"],
    )
    def test_rows_that_change_with_others_are_seen(self, mixing):
        found = tried(mixing)

        assert not found.proved
        assert "changes with the rows beside it" in found.why

    @pytest.mark.parametrize("datatype", ["INT64", "UINT8", "BOOL", "BYTES", "FP16", "BF16"])
    def test_rows_of_every_datatype_differ(self, datatype):
        what = signature([spec("x", datatype, -1, 1)], [spec("y", datatype, -1, 1)])

        assert tried(lambda x: x, what).proved
        assert not tried(lambda x: x[::-1].copy(), what).proved

    def test_chance_is_no_proof(self):
        chance = np.random.default_rng(3)

        assert not tried(lambda x: x + chance.random(x.shape, np.float32)).proved

    @pytest.mark.parametrize(
        "silent", [np.zeros_like, lambda x: x * np.float32(np.nan), lambda x: x * 1e-9 + 7]
    )
    def test_an_output_that_tells_nothing_proves_nothing(self, silent):
        found = tried(lambda x: silent(x).astype(np.float32))

        assert not found.proved
        assert "the same for all made-up rows" in found.why

    def test_larger_numbers_may_tell_more(self):
        """Features of some models begin at hundreds, and small ones all have one class."""
        what = signature([TABLE], [spec("y", "INT64", -1)])

        dimensions = NAMED | {"y": ("batch",)}

        assert tried(lambda x: (x[:, 0] > 300).astype(np.int64), what, dimensions).proved

    def test_what_refuses_zeros_is_tried_without_them(self):
        """It divides by them, or they are sizes."""

        def divides(x):
            if not x.all():
                raise InputRejected("division by zero")
            return 60 // x

        what = signature([spec("x", "INT32", -1, 4)], [spec("y", "INT32", -1, 4)])

        assert tried(divides, what).proved
        assert not tried(lambda x: divides(x)[::-1].copy(), what).proved

    def test_rounding_may_differ_with_the_number_of_rows(self):
        assert tried(lambda x: x * np.float32(1 + 1e-6 * len(x))).proved


class TestWhatCannotBeTried:
    def test_inputs_that_cannot_be_made_up(self):
        def refuses(_):
            raise InputRejected("no such token\nand more")

        assert tried(refuses).why == (
            "it does not run on made-up rows (no such token), so nothing is proved; where requests "
            "may share a run, max_batch_size in config.pbtxt says so"
        )

    def test_a_model_that_takes_one_row(self):
        def single(x):
            if len(x) > 1:
                raise InputRejected("one at a time")
            return x

        assert tried(single).why == "it refuses 2 rows together: one at a time"

    def test_an_output_without_rows(self):
        found = tried(lambda x: x.sum(axis=0, keepdims=True))

        assert "output 'y' has shape [1, 4] for 2 row(s)" in found.why

    def test_a_row_that_is_too_large_is_not_made(self):
        what = signature([spec("x", "FP32", -1, 1 << 25)], [spec("y", "FP32", -1, 4)])
        shard = Shard(lambda x: x, what)

        assert prove(shard, "cpu").why == "a row of its inputs is too large to be made up"
        assert shard.rows == []

    def test_other_open_sizes_are_looked_for(self):
        """An image of 8 x 8 does not survive five halvings."""

        def halves(x):
            if x.shape[1] < 32:
                raise InputRejected("too small")
            return x[:, :4]

        what = signature([spec("x", "FP32", -1, -1)], [spec("y", "FP32", -1, 4)])

        assert tried(halves, what, {"x": ("batch", "width"), "y": ("batch", "4")}).proved


class TestNames:
    PAIR = signature([TABLE, spec("z", "FP32", -1, 4)], [spec("y", "FP32", -1, 4)])

    @pytest.mark.parametrize(
        ("sizes", "why"),
        [
            (("a", "b", "a"), "the first dimension is not the same one everywhere: 'a' in 'x'"),
            (("a", "a", "b"), "the first dimension is not the same one everywhere: 'a' in 'x'"),
        ],
    )
    def test_two_names_are_two_dimensions(self, sizes, why):
        dimensions = {n: (size, "4") for n, size in zip("xzy", sizes, strict=True)}

        with pytest.raises(NotProved, match=why):
            batch_dimension(self.PAIR, dimensions)

    @pytest.mark.parametrize("other", ["batch", "batch*2", "2*batch + 1"])
    def test_the_batch_stands_nowhere_else(self, other):
        what = signature([spec("x", "FP32", -1, -1)], [spec("y", "FP32", -1, 4)])

        with pytest.raises(NotProved, match="is not the first dimension alone"):
            batch_dimension(what, {"x": ("batch", other), "y": ("batch", "4")})

    def test_an_input_of_one_dimension_has_no_rows(self):
        what = signature([spec("x", "FP32", -1)], [spec("y", "FP32", -1)])

        with pytest.raises(NotProved, match="one dimension"):
            batch_dimension(what, {"x": ("n",), "y": ("n",)})

    @pytest.mark.parametrize("made_up", ["", "unk__17", "x_dynamic_axes_1", "Softmaxy_dim_0"])
    def test_without_names_the_trial_decides(self, made_up):
        dimensions = {"x": (made_up, "4"), "y": ("", "4")}

        assert tried(lambda x: x * 2, ONE, dimensions).proved
        assert not tried(lambda x: x - x.mean(axis=0), ONE, dimensions).proved

    def test_inputs_without_names_may_have_rows_of_their_own(self):
        """Two towers: a request may have two images and three texts."""
        dimensions = {"x": ("", "4"), "z": ("", "4"), "y": ("", "4"), "w": ("", "4")}
        outputs = [spec("y", "FP32", -1, 4), spec("w", "FP32", -1, 4)]
        towers = signature(self.PAIR.inputs, outputs)

        assert tried(lambda x, z: x + z, self.PAIR, dimensions).proved
        assert tried(lambda x, z: (x, z), towers, dimensions).why == (
            "input 'x' may have another number of rows than the others"
        )


class TestArtifacts:
    def test_sizes_without_names_in_onnx(self, tmp_path):
        shape = (None, 8)
        graph = onnx_graph(
            [node("MatMul", "x a", "y")],
            [value("x", shape=shape)],
            [value("y", shape=shape)],
            [weight("a")],
        )

        assert prove(loaded(write_onnx(tmp_path, graph)), "cpu").why.startswith(
            "dimension 0 has no name"
        )

    def test_sizes_that_are_quantized_over_the_whole_batch(self, tmp_path):
        """The scale comes from the largest number of all rows, whoever sent them."""
        nodes = [
            node("DynamicQuantizeLinear", "x", "q s z"),
            node("DequantizeLinear", "q s z", "y"),
        ]
        graph = onnx_graph(
            nodes,
            [value("x", shape=("batch", 8))],
            [value("y", shape=("batch", 8))],
        )

        assert not prove(loaded(write_onnx(tmp_path, graph)), "cpu").proved

    def test_tokens_that_are_looked_up(self, tmp_path):
        table = constant("table", np.arange(12, dtype=np.float32).reshape(3, 4) + 1)
        graph = onnx_graph(
            [node("Gather", "table ids", "y")],
            [value("ids", "INT64", ("batch", "length"))],
            [value("y", shape=("batch", "length", 4))],
            [table],
        )

        assert prove(loaded(write_onnx(tmp_path, graph)), "cpu").proved
