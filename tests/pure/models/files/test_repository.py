"""A directory in Triton's layout becomes records of what can be served, and why others cannot."""

import pytest
from support.models.repositories import artifacts, put
from support.records import config

from penstock.errors import InvalidConfiguration
from penstock.models.files.repository import NO_VERSION, scan


def offered(root):
    return [(record.model, record.version) for record in scan(root)]


def error_of(root):
    (record,) = scan(root)
    return record.error


class TestScan:
    def test_models_and_their_versions_in_order(self, tmp_path):
        put(tmp_path, artifacts("b/1/model.onnx", "a/2/shard-0.onnx", "a/2/shard-1.pt2"))

        a, b = scan(tmp_path)

        assert (a.model, a.version, a.error) == ("a", 2, "")
        assert [stage.artifact for stage in a.stages] == ["a/2/shard-0.onnx", "a/2/shard-1.pt2"]
        assert (b.model, b.version, b.error) == ("b", 1, "")
        assert [stage.runtime for stage in b.stages] == ["onnxruntime"]

    def test_a_configuration_is_kept_as_it_was_written(self, tmp_path):
        text = 'max_batch_size: 4 instance_group { kind: KIND_CPU count: 3 } platform: ""'
        put(tmp_path, artifacts("m/1/model.onnx") | {"m/config.pbtxt": text})

        (record,) = scan(tmp_path)

        assert record.config == config(text).SerializeToString(deterministic=True)
        assert (record.replicas, record.device_kind) == (3, "cpu")

    def test_without_a_configuration_one_worker_runs_anywhere(self, tmp_path):
        (record,) = scan(put(tmp_path, artifacts("m/1/model.onnx")))

        assert (record.config, record.replicas, record.device_kind) == (b"", 1, "")

    def test_labels_come_along(self, tmp_path):
        text = 'output { name: "y" data_type: TYPE_FP32 label_filename: "labels.txt" }'
        put(tmp_path, artifacts("m/1/model.onnx") | {"m/config.pbtxt": text})
        put(tmp_path, {"m/labels.txt": "cat \ndog\n"})

        (record,) = scan(tmp_path)

        assert list(record.labels["labels.txt"].values) == ["cat", "dog"]

    def test_a_byte_order_mark_says_nothing(self, tmp_path):
        """Editors of Windows write one; the error about it showed a character that nobody sees."""
        text = 'output { name: "y" data_type: TYPE_FP32 label_filename: "labels.txt" }'
        files = {"m/config.pbtxt": f"\ufeff{text}", "m/labels.txt": "\ufeffcat\ndog\n"}
        put(tmp_path, artifacts("m/1/model.onnx") | {n: t.encode() for n, t in files.items()})

        (record,) = scan(tmp_path)

        assert record.error == ""
        assert record.config == config(text).SerializeToString(deterministic=True)
        assert list(record.labels["labels.txt"].values) == ["cat", "dog"]

    def test_a_directory_0_is_no_version_and_that_is_said(self, tmp_path):
        put(tmp_path, artifacts("m/0/model.onnx"))

        assert "versions begin at 1: rename m/0" in error_of(tmp_path)

    def test_files_and_hidden_directories_are_no_models(self, tmp_path):
        put(tmp_path, artifacts("README.md", ".git/1/model.onnx", "m/1/model.onnx"))

        assert offered(tmp_path) == [("m", 1)]

    def test_an_empty_repository_offers_nothing(self, tmp_path):
        assert scan(tmp_path) == []

    def test_the_same_files_make_the_same_records(self, tmp_path):
        put(tmp_path, artifacts("m/1/model.onnx") | {"m/config.pbtxt": "max_batch_size: 2"})

        assert scan(tmp_path) == scan(tmp_path)

    @pytest.mark.parametrize("name", ["gone", "file"])
    def test_a_root_that_is_no_directory_is_refused(self, tmp_path, name):
        put(tmp_path, {"file": "x"})

        with pytest.raises(InvalidConfiguration) as caught:
            scan(tmp_path / name)

        assert str(caught.value).startswith(f"the model repository {tmp_path / name} cannot be")
        assert "name a directory that holds one directory for each model" in str(caught.value)


class TestVersions:
    @pytest.mark.parametrize(
        ("policy", "versions"),
        [
            ("", [16]),
            ("version_policy { latest { } }", [16]),
            ("version_policy { latest { num_versions: 2 } }", [3, 16]),
            ("version_policy { latest { num_versions: 9 } }", [1, 3, 16]),
            ("version_policy { all { } }", [1, 3, 16]),
            ("version_policy { specific { versions: [ 16, 1, 16 ] } }", [1, 16]),
            ("version_policy { specific { versions: [ 2, 3, 99 ] } }", [3]),
        ],
    )
    def test_the_policy_chooses(self, tmp_path, policy, versions):
        put(tmp_path, artifacts(*(f"m/{number}/model.onnx" for number in (1, 3, 16))))
        put(tmp_path, {"m/config.pbtxt": policy})

        assert offered(tmp_path) == [("m", number) for number in versions]

    def test_only_plain_positive_numbers_are_versions(self, tmp_path):
        folders = ("0", "01", "-1", "1.5", "x", "\u0661", str(2**63), "2")
        put(tmp_path, artifacts(*(f"m/{name}/model.onnx" for name in folders)))
        put(tmp_path, artifacts("m/3") | {"m/config.pbtxt": "version_policy { all { } }"})

        assert offered(tmp_path) == [("m", 2)]

    def test_where_no_version_that_is_asked_for_is_there_it_is_told(self, tmp_path):
        policy = "version_policy { specific { versions: [ 2 ] } }"
        put(tmp_path, artifacts("m/1/model.onnx") | {"m/config.pbtxt": policy})

        (missing,) = scan(tmp_path)

        assert missing.version == 2
        assert missing.error == (
            "version 2 of 'm' is asked for, but m/2 is not there: add it, or correct version_policy"
        )

    def test_a_model_without_versions_is_told(self, tmp_path):
        (tmp_path / "m").mkdir()

        (record,) = scan(tmp_path)

        assert record.version == NO_VERSION
        assert record.error == (
            "model 'm' has no version: put its artifact into m/1/model.onnx or m/1/model.pt2"
        )


class TestBroken:
    def test_one_broken_version_leaves_the_others(self, tmp_path):
        put(tmp_path, artifacts("m/1/model.onnx") | {"m/2/model.onnx": ""})
        put(tmp_path, {"m/config.pbtxt": "version_policy { all { } }"})

        good, bad = scan(tmp_path)

        assert good.error == ""
        assert bad.error == "m/2/model.onnx is empty: copy or export it again"
        assert bad.config == good.config

    def test_a_broken_configuration_is_told_at_every_version(self, tmp_path):
        put(tmp_path, artifacts("m/1/model.onnx", "m/2/model.onnx", "ok/1/model.onnx"))
        put(tmp_path, {"m/config.pbtxt": "no_field: 1"})

        one, two, ok = scan(tmp_path)

        expected = "m/config.pbtxt:1: unknown field 'no_field' in ModelConfig"
        assert [one.error, two.error, ok.error] == [expected, expected, ""]

    def test_a_name_that_is_not_the_directory_s(self, tmp_path):
        put(tmp_path, artifacts("m/1/model.onnx") | {"m/config.pbtxt": 'name: "n"'})

        assert error_of(tmp_path) == (
            "m/config.pbtxt: name is 'n', but the directory is 'm': make them equal, or remove name"
        )

    def test_a_directory_whose_name_no_request_could_have(self, tmp_path):
        put(tmp_path, artifacts("my model/1/model.onnx"))

        assert error_of(tmp_path) == "'my model' cannot name a model: rename the directory"

    def test_a_name_that_is_no_text(self, tmp_path):
        (tmp_path / "m\udcff").mkdir()

        (record,) = scan(tmp_path)

        assert record.model == "m\\udcff"
        assert "cannot name a model" in record.error

    def test_a_configuration_that_is_no_text(self, tmp_path):
        put(tmp_path, artifacts("m/1/model.onnx") | {"m/config.pbtxt": b"\xff"})

        assert error_of(tmp_path).startswith("m/config.pbtxt is not UTF-8 text: ")

    def test_a_configuration_that_leads_out(self, tmp_path, tmp_path_factory):
        outside = put(tmp_path_factory.mktemp("outside"), {"config.pbtxt": ""}) / "config.pbtxt"
        put(tmp_path, artifacts("m/1/model.onnx"))
        (tmp_path / "m" / "config.pbtxt").symlink_to(outside)

        assert error_of(tmp_path) == (
            f"m/config.pbtxt leads out of the repository, to {outside}: put the file itself there"
        )

    def test_a_configuration_that_leads_nowhere_is_not_absent(self, tmp_path):
        put(tmp_path, artifacts("m/1/model.onnx"))
        (tmp_path / "m" / "config.pbtxt").symlink_to("gone")

        assert error_of(tmp_path) == "m/config.pbtxt is a link that leads nowhere: gone"

    def test_labels_that_are_not_there(self, tmp_path):
        text = 'output { name: "y" data_type: TYPE_FP32 label_filename: "gone.txt" }'
        put(tmp_path, artifacts("m/1/model.onnx") | {"m/config.pbtxt": text})

        assert error_of(tmp_path) == (
            "m/config.pbtxt: label_filename 'gone.txt' is not in the model's directory"
        )

    def test_labels_outside_the_repository(self, tmp_path):
        text = 'output { name: "y" data_type: TYPE_FP32 label_filename: "../../secret.txt" }'
        root = tmp_path / "models"
        put(root, artifacts("m/1/model.onnx") | {"m/config.pbtxt": text})
        put(tmp_path, {"secret.txt": "s"})

        assert "leads out of the repository" in error_of(root)

    def test_artifacts_for_another_runtime(self, tmp_path):
        text = 'platform: "pytorch_libtorch"'
        put(tmp_path, artifacts("m/1/model.onnx") | {"m/config.pbtxt": text})

        assert error_of(tmp_path) == (
            "m/config.pbtxt: platform is 'pytorch_libtorch', but the artifacts are for "
            "onnxruntime; remove platform, or export the model for pytorch"
        )


class TestFingerprint:
    def test_a_version_changes_with_its_artifacts(self, tmp_path):
        put(tmp_path, {"one/m/1/model.onnx": "a", "two/m/1/model.onnx": "b"})

        assert scan(tmp_path / "one")[0].fingerprint != scan(tmp_path / "two")[0].fingerprint

    def test_a_version_changes_with_its_labels(self, tmp_path):
        text = 'output { name: "y" data_type: TYPE_FP32 label_filename: "l" }'
        put(tmp_path, artifacts("m/1/model.onnx") | {"m/config.pbtxt": text, "m/l": "cat"})
        (before,) = scan(tmp_path)

        put(tmp_path, {"m/l": "dog"})

        assert scan(tmp_path)[0].fingerprint != before.fingerprint

    def test_copies_of_a_repository_agree(self, tmp_path):
        files = artifacts("m/1/shard-0.onnx", "m/1/shard-1.onnx")

        one, two = (scan(put(tmp_path / name, files)) for name in ("one", "two"))

        assert one == two


WARM = """model_warmup { name: "w" inputs { key: "x" value {
    data_type: TYPE_FP32 dims: 1 input_data_file: "x.raw" } } }"""


def test_the_files_of_samples_are_part_of_what_workers_hold(tmp_path):
    files = {"m/1/model.onnx": "a", "m/config.pbtxt": WARM, "m/warmup/x.raw": "1234"}
    (before,) = scan(put(tmp_path, files))

    (after,) = scan(put(tmp_path, {"m/warmup/x.raw": "5678"}))

    assert (before.error, after.error) == ("", "")
    assert before.revision_id != after.revision_id


def test_a_sample_without_its_file_is_refused(tmp_path):
    (found,) = scan(put(tmp_path, {"m/1/model.onnx": "a", "m/config.pbtxt": WARM}))

    assert found.error == (
        "m/config.pbtxt: model_warmup reads 'warmup/x.raw', which is not in the model's directory: "
        "put it there, or correct input_data_file"
    )


def test_a_samples_file_is_not_taken_from_elsewhere(tmp_path):
    put(tmp_path, {"repository/m/1/model.onnx": "a", "repository/m/config.pbtxt": WARM, "x": "1"})
    (tmp_path / "repository/m/warmup").mkdir()
    (tmp_path / "repository/m/warmup/x.raw").symlink_to(tmp_path / "x")

    (found,) = scan(tmp_path / "repository")

    assert "leads out of the repository" in found.error


def test_tags_for_metrics_start_no_worker_anew(tmp_path):
    (before,) = scan(put(tmp_path, {"m/1/model.onnx": "a"}))

    (after,) = scan(put(tmp_path, {"m/config.pbtxt": 'metric_tags { key: "a" value: "b" }'}))

    assert before.revision_id == after.revision_id
    assert before.fingerprint != after.fingerprint
