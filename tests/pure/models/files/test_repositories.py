"""Several repositories are served as one; a configuration may come from elsewhere."""

from support.models.repositories import artifacts, put
from support.records import config

from penstock.models.files.repository import NO_VERSION, names, scan, scan_model


def test_models_of_all_repositories_are_found_in_order(tmp_path):
    one = put(tmp_path / "one", artifacts("b/1/model.onnx"))
    two = put(tmp_path / "two", artifacts("a/1/model.onnx", "c/2/model.pt2"))

    assert [(record.model, record.version) for record in scan(one, two)] == [
        ("a", 1),
        ("b", 1),
        ("c", 2),
    ]
    assert names(one, two) == ["a", "b", "c"]


def test_a_model_in_two_repositories_is_served_from_neither(tmp_path):
    one = put(tmp_path / "one", artifacts("m/1/model.onnx", "n/1/model.onnx"))
    two = put(tmp_path / "two", artifacts("m/2/model.onnx"))

    both, single = scan(one, two)

    assert (both.model, both.version) == ("m", NO_VERSION)
    assert f"in several repositories, {one} and {two}: keep one of them" in both.error
    assert not single.error


def test_a_repository_that_is_named_twice_is_one(tmp_path):
    put(tmp_path, artifacts("m/1/model.onnx"))

    (record,) = scan(tmp_path, tmp_path)
    assert not record.error


def test_one_model_is_read_alone(tmp_path):
    put(tmp_path, artifacts("m/1/model.onnx", "n/1/model.onnx"))

    assert [record.model for record in scan_model([tmp_path], "m")] == ["m"]
    assert scan_model([tmp_path], "x") == []


def test_a_configuration_from_elsewhere_stands_in_place_of_the_one_that_is_there(tmp_path):
    put(tmp_path, artifacts("m/1/model.onnx", "m/2/model.onnx"))
    put(tmp_path, {"m/config.pbtxt": "this is no configuration"})

    found = scan_model([tmp_path], "m", config("version_policy { all {} }"))

    assert [record.version for record in found] == [1, 2]
    assert not any(record.error for record in found)


def test_a_generation_is_that_of_what_workers_hold(tmp_path):
    put(tmp_path, artifacts("m/1/model.onnx"))

    def revision_id(text):
        return scan_model([tmp_path], "m", config(text))[0].revision_id

    assert revision_id("") != revision_id("max_batch_size: 2")
    assert revision_id("") == revision_id("instance_group { count: 3 }")


def test_names_that_cannot_be_a_models_are_not_offered(tmp_path):
    put(tmp_path, artifacts("with space/1/model.onnx", ".hidden/1/model.onnx"))

    assert names(tmp_path) == []
