"""Samples to warm up with are what config.pbtxt and their files say."""

import numpy as np
import pytest
from support.clients.infer_requests import spec
from support.records import config, signature, version

from penstock.datatypes import DATATYPES
from penstock.errors import ArtifactUnusable, InvalidConfiguration
from penstock.models.completion import complete
from penstock.models.config.model_config import parse
from penstock.protos import cluster_pb2 as pb
from penstock.tensors import to_raw
from penstock.workers.loading.warming import read_samples, warm_up
from penstock.workers.run.execution import Execution


def sample(tensor, *, batch=8, more=""):
    return config(
        f"max_batch_size: {batch} "
        f'model_warmup {{ name: "w" {more} inputs {{ key: "x" value {{ {tensor} }} }} }}'
    )


def read(text, folder=None, **options):
    return read_samples(sample(text, **options), folder)[0]


class TestSamples:
    def test_zeros_have_as_many_rows_as_the_batch(self):
        found = read("data_type: TYPE_FP32 dims: [ 2, 3 ] zero_data: true", more="batch_size: 4")

        assert found.inputs["x"].shape == (4, 2, 3)
        assert not found.inputs["x"].any()
        assert found.count == 1

    def test_a_model_without_a_batch_dimension_gets_none(self):
        found = read("data_type: TYPE_INT64 dims: 3 zero_data: true", batch=0, more="count: 5")

        assert (found.inputs["x"].shape, found.count) == ((3,), 5)

    @pytest.mark.parametrize("datatype", sorted(DATATYPES))
    @pytest.mark.parametrize("dims", [[], [2, 3]])
    def test_random_data_of_every_datatype_can_be_sent(self, datatype, dims):
        kind = "STRING" if datatype == "BYTES" else datatype
        found = read(f"data_type: TYPE_{kind} dims: {dims} random_data: true", more="batch_size: 2")

        assert found.inputs["x"].shape == (2, *dims)
        assert to_raw(found.inputs["x"])

    @pytest.mark.parametrize(
        ("kind", "array"),
        [
            ("FP32", np.arange(3, dtype=np.float32)),
            ("STRING", np.array([b"a", b"", b"bc"], object)),
        ],
    )
    def test_a_file_holds_one_row_as_it_is_on_the_wire(self, tmp_path, kind, array):
        (tmp_path / "x.raw").write_bytes(to_raw(array))

        found = read(
            f'data_type: TYPE_{kind} dims: 3 input_data_file: "x.raw"',
            tmp_path,
            more="batch_size: 2",
        )

        assert found.inputs["x"].tolist() == 2 * [array.tolist()]

    @pytest.mark.parametrize(
        ("kind", "content", "words"),
        [
            ("FP32", b"1234", "must hold one raw tensor FP32[3]: 12 bytes; it has 4"),
            (
                "STRING",
                b"\4\0\0\0a",
                "BYTES[3], each element after its length: string of 4 bytes, but",
            ),
            ("STRING", to_raw(np.array([b"a"], object)), "after its length: it has 1 elements"),
            ("FP32", None, "x.raw, a file of model_warmup, is missing: put it back"),
        ],
    )
    def test_a_file_that_holds_something_else_is_refused(self, tmp_path, kind, content, words):
        if content is not None:
            (tmp_path / "x.raw").write_bytes(content)

        with pytest.raises(ArtifactUnusable) as caught:
            read(f'data_type: TYPE_{kind} dims: 3 input_data_file: "x.raw"', tmp_path)

        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no inputs"),
        ('inputs { key: "x" value { zero_data: true } }', "input 'x' must have a data_type"),
        (
            'inputs { key: "x" value { data_type: TYPE_FP32 dims: -1 zero_data: true } }',
            "each of dims must be 1 or more, got [-1]",
        ),
        (
            'inputs { key: "x" value { data_type: TYPE_FP32 zero_data: false } }',
            "needs zero_data: true, random_data: true or an input_data_file",
        ),
        (
            'inputs { key: "x" value { data_type: TYPE_FP32 input_data_file: "../x" } }',
            "must be below the model's warmup directory",
        ),
    ],
)
def test_a_sample_that_says_nothing_is_refused_when_it_is_read(text, words):
    with pytest.raises(InvalidConfiguration) as caught:
        parse(f'model_warmup {{ name: "w" {text} }}', "m/config.pbtxt")

    assert str(caught.value).startswith("m/config.pbtxt: model_warmup 'w'")
    assert words in str(caught.value)


class Recording:
    """A shard that keeps what it was run on, and refuses twos, or all."""

    signature = signature([spec("x", "FP32", -1, 1)], [spec("y", "FP32", -1, 1)])

    def __init__(self, *, takes=True):
        self.seen, self._takes = [], takes

    def run(self, inputs, outputs):
        self.seen.append(inputs["x"].tolist())
        if not self._takes or (inputs["x"] == 2).any():
            raise ValueError("two is too many\nand more")
        return dict.fromkeys(outputs, inputs["x"])


class TestRuns:
    def warm(self, tmp_path, text, shard=None, **files):
        for name, number in files.items():
            (tmp_path / name).write_bytes(np.float32([number]).tobytes())
        shard = shard or Recording()
        made = version(text=f"max_batch_size: 4 {text}")
        deployment = complete(made, [shard.signature])
        execution = Execution(shard, ["x"], ["y"], batched=True)
        samples = read_samples(config(f"max_batch_size: 4 {text}"), tmp_path)
        self.warmed = warm_up(execution, deployment, made.stages[0], samples)
        return shard

    TEXT = (
        'model_warmup { name: "%s" %s '
        'inputs { key: "x" value { data_type: TYPE_FP32 dims: 1 input_data_file: "%s" } } } '
    )

    def test_every_sample_so_often_and_nothing_else(self, tmp_path):
        text = self.TEXT % ("a", "count: 2", "one") + self.TEXT % ("b", "batch_size: 2", "three")

        shard = self.warm(tmp_path, text, one=1, three=3)

        assert shard.seen == [[[1.0]], [[1.0]], [[3.0], [3.0]]]

    def test_without_samples_on_zeros_of_both_sizes(self, tmp_path):
        assert [len(rows) for rows in self.warm(tmp_path, "").seen] == [1, 4]
        assert self.warmed == ("", "zeros", "")

    def test_what_is_made_up_is_never_held_against_a_shard(self, tmp_path, capsys):
        self.warm(tmp_path, "", Recording(takes=False))

        assert self.warmed == ("", "", "two is too many")
        assert "model_warmup" in capsys.readouterr().out

    def test_no_more_than_a_few_rows_where_their_number_is_a_guess(self):
        """A row may hold any amount of memory, and nobody has asked for more of them."""
        shard, made = Recording(), version(text="")
        deployment = complete(made, [shard.signature], [pb.BatchProof(proved=True, why="tried")])
        execution = Execution(shard, ["x"], ["y"], batched=True)
        warm_up(execution, deployment, made.stages[0], [])

        assert deployment.config.max_batch_size == 64
        assert [len(rows) for rows in shard.seen] == [1, 8]

    def test_a_sample_that_fails_makes_the_shard_unusable(self, tmp_path):
        with pytest.raises(ArtifactUnusable) as caught:
            self.warm(tmp_path, self.TEXT % ("bad", "", "two"), two=2)

        assert str(caught.value) == (
            "m/1/model.onnx does not run on model_warmup 'bad': two is too many"
        )
