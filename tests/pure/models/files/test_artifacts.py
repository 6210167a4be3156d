"""A version's artifacts are found in order, or the owner is told what is wrong with them."""

import os
import shutil

import pytest
from support.models.repositories import artifacts, put
from support.records import config

from penstock.errors import ArtifactUnusable
from penstock.models.files.artifacts import fingerprint, stages_of
from penstock.models.files.file_hashes import PIECE_BYTES


@pytest.fixture
def where(tmp_path):
    """The directory of a version."""
    folder = tmp_path / "m" / "1"
    folder.mkdir(parents=True)
    return folder


def stages(where, text=""):
    return stages_of(where.parents[1].resolve(), where, config(text))


def names(where, text=""):
    return [stage.artifact for stage in stages(where, text)]


def refusal(where, text=""):
    with pytest.raises(ArtifactUnusable) as caught:
        stages(where, text)
    return str(caught.value)


class TestFound:
    @pytest.mark.parametrize(
        ("name", "runtime"), [("model.onnx", "onnxruntime"), ("model.pt2", "pytorch")]
    )
    def test_a_whole_model(self, where, name, runtime):
        put(where, {name: "12345"})

        (stage,) = stages(where)

        assert (stage.index, stage.artifact) == (0, f"m/1/{name}")
        assert (stage.artifact_bytes, stage.runtime) == (5, runtime)
        assert stage.fingerprint == fingerprint([where / name])

    def test_stages_in_the_order_of_their_numbers(self, where):
        put(where, artifacts(*(f"shard-{index}.onnx" for index in (10, *range(10)))))

        found = stages(where)

        assert [stage.index for stage in found] == list(range(11))
        assert [stage.artifact for stage in found] == [f"m/1/shard-{i}.onnx" for i in range(11)]

    def test_stages_of_mixed_kinds(self, where):
        put(where, artifacts("shard-0.onnx", "shard-1.pt2"))

        assert [stage.runtime for stage in stages(where)] == ["onnxruntime", "pytorch"]

    def test_a_pipeline_of_one(self, where):
        put(where, artifacts("shard-0.pt2"))

        assert names(where) == ["m/1/shard-0.pt2"]

    def test_the_file_that_the_configuration_names(self, where):
        put(where, artifacts("model.onnx", "better.onnx", "shard-0.onnx"))

        assert names(where, 'default_model_filename: "better.onnx"') == ["m/1/better.onnx"]

    @pytest.mark.parametrize(
        ("text", "name"),
        [
            ('platform: "onnxruntime_onnx"', "model.onnx"),
            ('backend: "pytorch"', "model.pt2"),
        ],
    )
    def test_the_kind_that_the_configuration_names(self, where, text, name):
        put(where, artifacts("model.onnx", "model.pt2"))

        assert names(where, text) == [f"m/1/{name}"]

    def test_hidden_and_other_files_are_the_owner_s(self, where):
        put(where, artifacts("model.onnx", ".model.pt2", "shard-x.onnx", "notes.txt", "old/a.onnx"))

        assert names(where) == ["m/1/model.onnx"]

    def test_external_weights_count_as_the_model_s(self, where):
        put(where, {"model.onnx": "123", "weights.bin": "12345", "model.onnx.data": "1"})

        (stage,) = stages(where)

        assert stage.artifact_bytes == 9
        assert stage.fingerprint != fingerprint([where / "model.onnx"])

    def test_external_weights_of_a_stage_bear_its_name(self, where):
        put(where, artifacts("shard-1.onnx", "shard-10.onnx.data"))
        put(where, {"shard-0.onnx": "1", "shard-0.onnx.data": "12", "shard-0_weights": "123"})
        put(where, {"penstock.json": "1234"})

        first, second = stages(where)

        assert first.artifact_bytes == 1 + 2 + 3 + 4
        assert second.artifact_bytes == len("content of shard-1.onnx") + 4

    def test_a_link_within_the_repository_is_fine(self, where):
        put(where.parents[1], artifacts("shared/model.onnx"))
        (where / "model.onnx").symlink_to("../../shared/model.onnx")

        assert stages(where)[0].artifact_bytes == len("content of shared/model.onnx")


class TestRefused:
    def test_nothing(self, where):
        assert refusal(where) == (
            "m/1 must hold model.onnx, model.pt2 or shard-0.onnx, shard-1.pt2 ...; it holds nothing"
        )

    def test_only_others(self, where):
        put(where, artifacts("model.plan", "a.onnx"))

        assert refusal(where).endswith("it holds a.onnx, model.plan")

    def test_two_whole_models(self, where):
        put(where, artifacts("model.onnx", "model.pt2"))

        assert refusal(where) == (
            "m/1 holds both model.onnx and model.pt2: keep one, or say which with "
            "default_model_filename"
        )

    def test_a_whole_model_and_a_stage(self, where):
        put(where, artifacts("model.pt2", "shard-0.onnx"))

        assert refusal(where) == (
            "m/1 holds both model.pt2 and shard-0.onnx: keep the whole model or its shards"
        )

    @pytest.mark.parametrize("second", ["shard-1.pt2", "shard-01.onnx"])
    def test_a_stage_twice(self, where, second):
        put(where, artifacts("shard-0.onnx", "shard-1.onnx", second))

        first, last = sorted(["shard-1.onnx", second])
        assert refusal(where) == f"m/1 holds both {first} and {last}: keep one of them"

    @pytest.mark.parametrize(
        ("indices", "highest", "missing"), [((0, 2), 2, 1), ((1, 2), 2, 0), ((0, 1, 3), 3, 2)]
    )
    def test_a_gap(self, where, indices, highest, missing):
        put(where, artifacts(*(f"shard-{index}.onnx" for index in indices)))

        assert refusal(where) == (
            f"m/1 has {len(indices)} shards, up to shard-{highest}, but shard-{missing} is "
            "missing: shards are numbered from 0 without gaps"
        )

    def test_an_empty_file(self, where):
        put(where, {"shard-0.onnx": "1", "shard-1.onnx": ""})

        assert refusal(where) == "m/1/shard-1.onnx is empty: copy or export it again"

    def test_a_directory(self, where):
        (where / "model.onnx").mkdir()

        assert refusal(where) == "m/1/model.onnx is not a file"

    def test_a_link_that_leads_out(self, where, tmp_path_factory):
        outside = put(tmp_path_factory.mktemp("outside"), artifacts("model.onnx"))
        (where / "model.onnx").symlink_to(outside / "model.onnx")

        assert refusal(where) == (
            f"m/1/model.onnx leads out of the repository, to {outside}/model.onnx: "
            "put the file itself there"
        )

    def test_weights_that_lead_out(self, where, tmp_path_factory):
        outside = put(tmp_path_factory.mktemp("outside"), artifacts("secret"))
        put(where, artifacts("model.onnx"))
        (where / "weights.bin").symlink_to(outside / "secret")

        assert "weights.bin leads out of the repository" in refusal(where)

    def test_a_directory_that_leads_out(self, tmp_path, tmp_path_factory):
        outside = put(tmp_path_factory.mktemp("outside"), artifacts("1/model.onnx"))
        (tmp_path / "m").symlink_to(outside)

        assert "m/1/model.onnx leads out of the repository" in refusal(tmp_path / "m" / "1")

    @pytest.mark.parametrize("target", ["gone.onnx", "model.onnx"])
    def test_a_link_that_leads_nowhere(self, where, target):
        (where / "model.onnx").symlink_to(target)

        assert refusal(where) == f"m/1/model.onnx is a link that leads nowhere: {target}"

    @pytest.mark.parametrize(
        ("filename", "words"),
        [
            ("gone.onnx", "m/1/gone.onnx, the default_model_filename, is not there"),
            ("../1/model.onnx", "default_model_filename '../1/model.onnx' must be a plain file"),
            ("model.plan", "default_model_filename 'model.plan' must end in .onnx or .pt2"),
        ],
    )
    def test_a_default_that_cannot_be(self, where, filename, words):
        put(where, artifacts("model.onnx", "model.plan"))

        assert refusal(where, f'default_model_filename: "{filename}"').startswith(words)


class TestFingerprint:
    def test_it_changes_with_the_content_although_the_size_stays(self, tmp_path):
        put(tmp_path, {"one/model.onnx": "ab", "two/model.onnx": "ac"})

        one, two = (fingerprint([tmp_path / name / "model.onnx"]) for name in ("one", "two"))

        assert one != two

    def test_it_changes_when_a_file_is_written_anew(self, tmp_path):
        path = put(tmp_path, {"model.onnx": "ab"}) / "model.onnx"
        before = fingerprint([path])

        put(tmp_path, {"model.onnx": "abc"})

        assert fingerprint([path]) != before

    def test_it_changes_with_the_name(self, tmp_path):
        put(tmp_path, {"a.onnx": "x", "b.onnx": "x"})

        assert fingerprint([tmp_path / "a.onnx"]) != fingerprint([tmp_path / "b.onnx"])

    def test_it_changes_with_each_of_the_files(self, tmp_path):
        put(tmp_path, {"1/a": "x", "1/b": "y", "2/a": "x", "2/b": "z"})

        one, two = ([tmp_path / folder / name for name in "ab"] for folder in "12")

        assert fingerprint(one) != fingerprint(two)
        assert fingerprint(one) != fingerprint(one[:1])

    def test_touching_changes_nothing(self, tmp_path):
        path = put(tmp_path, artifacts("model.onnx")) / "model.onnx"
        before = fingerprint([path])

        os.utime(path, (1, 1))

        assert fingerprint([path]) == before

    def test_a_copy_elsewhere_has_the_same(self, tmp_path):
        put(tmp_path, artifacts("here/model.onnx"))

        shutil.copytree(tmp_path / "here", tmp_path / "there")

        here, there = (fingerprint([tmp_path / name / "model.onnx"]) for name in ("here", "there"))
        assert here == there

    @pytest.mark.parametrize("at", [0, -1])
    def test_both_ends_of_a_huge_file_count(self, tmp_path, at):
        paths = [tmp_path / name / "model.onnx" for name in ("same", "changed")]
        for path in paths:
            path.parent.mkdir()
            with path.open("wb") as file:
                file.truncate(PIECE_BYTES + 12_345)
        before = fingerprint(paths[:1])

        with paths[1].open("r+b") as file:
            file.seek(at, os.SEEK_END if at else os.SEEK_SET)
            file.write(b"x")

        assert fingerprint(paths[1:]) != before
