"""Torch modules are exported, cut, and served stage by stage as the module would answer."""

import numpy as np
import pytest
import torch
from support.models.pipelines import Served, cut_torch
from torch import nn

from penstock.errors import PenstockError
from penstock.sharding.errors import AnswersVary, CannotShard, TooManyStages
from penstock.sharding.torch.factory import load_factory
from penstock.tensors import bf16_from_float32

SAMPLE = torch.zeros(2, 8)


class Layers(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)


@pytest.fixture
def cut(tmp_path):
    """Cuts a module and serves the stages: ``cut(module, samples, 2)``."""

    def run(module, samples, stages, *inputs):
        made = module if samples is None else (module, samples)
        report = cut_torch(lambda: made, stages, tmp_path / "models" / "m" / "1", *inputs)
        return report, Served(tmp_path / "models", "m")

    return run


def answers_alike(module, served, *arguments):
    request = {
        name: argument.numpy() for name, argument in zip(served.inputs, arguments, strict=True)
    }
    with torch.inference_mode():
        expected = module.eval()(*arguments)
    if isinstance(expected, dict):
        assert served.outputs == list(expected)
        expected = tuple(expected.values())
    expected = expected if isinstance(expected, tuple) else (expected,)
    actual = served.infer(request)
    for name, tensor in zip(served.outputs, expected, strict=True):
        np.testing.assert_allclose(actual[name], tensor.numpy(), rtol=1e-5, atol=1e-6)
    return True


class Residual(Layers):
    def forward(self, x):
        hidden = self.a(x)
        return self.c(torch.relu(self.b(hidden)) + x) + hidden


def test_residual_connections_go_over_the_cuts(cut):
    module = Residual()

    report, served = cut(module, SAMPLE, 3)

    assert [stage.parameters for stage in report.stages] == [72, 72, 72]
    assert [len(stage.crossing) for stage in report.stages] == [2, 2, 0]
    assert report.stages[0].cut_after == "a/linear"
    assert report.verification.batch_sizes == (1, 2, 5)
    assert served.deployment.config.max_batch_size == 64
    assert answers_alike(module, served, torch.randn(7, 8))


class Tied(Layers):
    def __init__(self):
        super().__init__()
        self.c.weight = self.a.weight

    def forward(self, x):
        return self.c(self.b(self.a(x)))


def test_tied_weights_are_in_both_stages(cut):
    module = Tied()

    report, served = cut(module, SAMPLE, 2)

    assert sum(stage.parameters for stage in report.stages) == 3 * 72
    assert answers_alike(module, served, torch.randn(3, 8))


class Several(Layers):
    def forward(self, x, y):
        early = self.a(x)
        return {"early": early, "sum": self.c(self.b(early) + y), "given": y}


def test_several_inputs_and_outputs_keep_their_names(cut):
    """`early` is made by the first stage, `given` comes from the request: both are outputs."""
    module = Several()

    report, served = cut(module, {"y": SAMPLE, "x": SAMPLE}, 3)

    assert [t.name for t in report.stages[0].outputs] == ["early_early"]
    assert served.inputs == ["x", "y"]
    assert answers_alike(module, served, torch.randn(3, 8), torch.randn(3, 8))


class Sized(nn.Module):
    """Sizes of x are used behind the cut: in a reshape, and in a mask made for its length."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)
        self.register_buffer("scale", torch.tensor(0.5))

    def forward(self, x):
        rows, length, width = x.shape
        mask = torch.full((length, length), -1e9).triu(1)
        hidden = self.b(torch.relu(self.a(x)))
        mixed = (hidden @ hidden.transpose(1, 2) * self.scale + mask).softmax(-1) @ hidden
        return mixed.reshape(rows, length * 2, width // 2)


def test_symbolic_sizes_are_taken_from_each_stages_own_inputs(cut):
    module = Sized()

    report, served = cut(module, None, 2, "x=-1,-1,8:FP32")

    assert [t.shape for t in report.stages[1].inputs] == [[-1, -1, 8]]
    assert len(report.stages[1].inputs) == 1
    assert answers_alike(module, served, torch.randn(3, 5, 8))
    assert answers_alike(module, served, torch.randn(1, 9, 8))


class Convolutions(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.second, self.drop = nn.Conv2d(4, 4, 3), nn.Dropout(0.5)

    def forward(self, image):
        return self.drop(self.second(self.norm(self.first(image)).relu())).mean((2, 3))


def test_a_module_is_cut_as_it_answers_not_as_it_trains(cut):
    """Dropout is off, and batch normalization uses what it learnt."""
    module = Convolutions()

    _, served = cut(module.train(), None, 2, "image=-1,3,12,12")

    assert answers_alike(module, served, torch.randn(3, 3, 12, 12))


class Narrow(Layers):
    def forward(self, x):
        return self.b(self.a(x.float()).to(torch.bfloat16).float()).to(torch.bfloat16)


def test_bfloat16_travels(cut):
    module = Narrow()
    x = torch.randn(3, 8)

    report, served = cut(module, SAMPLE.to(torch.bfloat16), 2)

    answer = served.infer({"x": bf16_from_float32(x.numpy())})["output"]
    with torch.inference_mode():
        expected = module(x.to(torch.bfloat16))
    assert report.stages[0].crossing_bytes == 16
    np.testing.assert_array_equal(answer, expected.view(torch.int16).numpy().view(np.uint16))


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.layer = nn.Embedding(16, 8), nn.Linear(8, 16)

    def forward(self, tokens, scale=None):
        hidden = self.words(tokens)
        return self.layer(hidden if scale is None else hidden * scale).argmax(-1)


def test_inputs_may_be_described_and_optional_ones_left_out(cut):
    module = Words()

    report, served = cut(module, None, 2, "tokens=-1,-1:INT64")

    assert [(t.name, t.datatype) for t in report.stages[-1].outputs] == [("output", "INT64")]
    assert answers_alike(module, served, torch.tensor([[1, 15, 3]]))


def test_no_paths_of_the_exporting_machine_are_in_the_files(cut, tmp_path):
    cut(Residual(), SAMPLE, 2)

    for path in (tmp_path / "models" / "m" / "1").iterdir():
        assert b"test_sharding_torch.py" not in path.read_bytes()


class Random(Layers):
    def forward(self, x):
        return self.b(nn.functional.dropout(self.a(x), 0.5, training=True))


class Fixed(Layers):
    def forward(self, x):
        return self.b(self.a(x)).reshape(2, 8)


class Flattened(Layers):
    def forward(self, x):
        rows, length, _ = x.shape
        return self.b(torch.relu(self.a(x.reshape(-1, 8)))).reshape(rows, length, 8)


class Counting(Layers):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x):
        self.calls += 1
        return self.a(x) + self.calls


class Branching(Layers):
    def forward(self, x):
        return self.b(self.a(x)) if x.sum() > 0 else self.a(x)


class Listed(Layers):
    def forward(self, xs):
        return self.a(xs[0])


class Numbered(Layers):
    def forward(self, x):
        return self.b(self.a(x)), 3


class Clashing(Layers):
    def forward(self, x):
        return {"x": self.b(self.a(x))}


class Complex(Layers):
    def forward(self, x):
        return self.a(x.real)


def failing():
    raise RuntimeError("no weights\nat all")


class TestRefused:
    @pytest.mark.parametrize(
        ("module", "sample", "kind", "words"),
        [
            (Random, SAMPLE, AnswersVary, "'output' is another each time .*dropout"),
            (Fixed, SAMPLE, CannotShard, r"one batch size only.*as in x\.shape\[0\]"),
            (Flattened, torch.zeros(2, 5, 8), TooManyStages, "serve it whole"),
            (Counting, SAMPLE, CannotShard, "changes its buffers .* return the new value"),
            (Branching, SAMPLE, CannotShard, "cannot export the module: .*data-dependent"),
            (Listed, [[SAMPLE]], CannotShard, "'xs' is not a tensor .* must be one tensor"),
            (Numbered, SAMPLE, PenstockError, "output 1 .* plain tensors"),
            (Clashing, SAMPLE, CannotShard, "both called 'x'; rename one"),
            (Complex, SAMPLE.to(torch.complex64), CannotShard, "'x' is torch.complex64"),
        ],
    )
    def test_modules_that_cannot_be_cut(self, tmp_path, capfd, module, sample, kind, words):
        with pytest.raises(kind, match=words):
            cut_torch(lambda: (module(), sample), 2, tmp_path / "cut")

        assert not (tmp_path / "cut").exists()
        assert capfd.readouterr() == ("", "")

    @pytest.mark.parametrize(
        ("inputs", "words"),
        [
            ((), "nothing tells how these inputs look: x, y; write --input"),
            (("x=-1,8",), "nothing tells how these inputs look: y; write"),
            (("x=-1,8", "y=-1,8", "z=1"), "--input 'z': the model's inputs are x, y"),
            (("x=-1,9", "y=-1,8"), "cannot export the module: .*9"),
        ],
    )
    def test_inputs_that_are_not_described_well(self, tmp_path, inputs, words):
        with pytest.raises(CannotShard, match=words):
            cut_torch(Several, 2, tmp_path / "cut", *inputs)

    @pytest.mark.parametrize(
        ("factory", "words"),
        [
            (lambda: 3, r"the factory returned int, not a torch\.nn\.Module"),
            (failing, "the factory fails: RuntimeError: no weights$"),
        ],
    )
    def test_factories_that_make_no_module(self, tmp_path, factory, words):
        with pytest.raises(CannotShard, match=words):
            cut_torch(factory, 2, tmp_path / "cut")


class TestLoadFactory:
    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("missing_package:make", "cannot import missing_package: No module named"),
            ("math:nothing", "math has no 'nothing'; name a function"),
            ("math:pi", "neither a torch.nn.Module nor a function"),
            (":make", "cannot read ':make': name a function .* as package.module:factory"),
            ("math:", "cannot read 'math:'"),
        ],
    )
    def test_names_that_lead_nowhere(self, monkeypatch, text, words):
        monkeypatch.setattr("sys.path", [])

        with pytest.raises(CannotShard, match=words):
            load_factory(text)

    def test_modules_are_found_in_the_current_directory(self, monkeypatch, tmp_path):
        monkeypatch.setattr("sys.path", ["/usr/lib"])
        monkeypatch.chdir(tmp_path)
        (tmp_path / "of_this_test.py").write_text("class Made:\n    make = dict\n")

        assert load_factory("of_this_test:Made.make")() == {}

    def test_a_module_that_fails_is_told_in_one_line(self, monkeypatch, tmp_path):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("sys.path", [])
        (tmp_path / "broken_for_this_test.py").write_text("1 / 0\n")

        with pytest.raises(CannotShard, match="importing broken_for_this_test fails: ZeroDiv"):
            load_factory("broken_for_this_test:make")
