"""What comes with a load is read strictly, and refused with Triton's words."""

import pytest
from onnx.helper import make_model
from support.models.pipelines import node, onnx_graph, value

from penstock.errors import InvalidRequest
from penstock.gateway.models.load_parameters import LoadFailed, check_name, read_terms
from penstock.protos import grpc_service_pb2 as pb

ONNX = make_model(
    onnx_graph([node("Relu", "x", "y")], [value("x")], [value("y")])
).SerializeToString()


NOT_THERE = "failed to load 'm', failed to poll from model repository"


def request(**parameters):
    made = pb.RepositoryModelLoadRequest(model_name="m")
    for key, given in parameters.items():
        field = {str: "string_param", bytes: "bytes_param", bool: "bool_param"}[type(given)]
        setattr(made.parameters[key], field, given)
    return made


def refusal(kind, made, most_mib=1):
    with pytest.raises(kind) as caught:
        read_terms(made, most_mib)
    return str(caught.value)


def test_nothing_is_the_repositorys():
    terms = read_terms(request(), 1)

    assert terms.config is None
    assert not terms.files


def test_a_configuration_is_json_of_a_model_config():
    terms = read_terms(request(config='{"max_batch_size": 7, "backend": "onnxruntime"}'), 1)

    assert (terms.config.max_batch_size, terms.config.backend) == (7, "onnxruntime")


def test_files_are_named_by_their_path():
    made = request(**{"config": "{}", "file:1/model.onnx": ONNX, "file:labels.txt": b"y"})

    assert read_terms(made, 1).files == {"1/model.onnx": ONNX, "labels.txt": b"y"}


@pytest.mark.parametrize("path", ["1/model.pt2", "1/model.py", "1/model.onnx", "1/op.so"])
def test_files_that_may_be_code_need_the_operators_leave(path):
    made = request(**{"config": "{}", f"file:{path}": b"\x80\x04"})

    told = refusal(LoadFailed, made)

    assert told.startswith("failed to load 'm', failed to poll from model repository: ")
    assert "--allow-code-overrides" in told
    assert read_terms(made, 1, allow_code=True).files == {path: b"\x80\x04"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("no json", "config override: "),
        ('{"max_batch_sise": 1}', 'no field named "max_batch_sise"'),
        ('{"max_batch_size": -1}', "max_batch_size must be 0 or more"),
        (
            '{"model_operations": {"op_library_filename": ["x"]}}',
            "does not implement 'model_operations'",
        ),
        ('{"name": "other"}', "name is 'other'"),
    ],
)
def test_a_configuration_that_cannot_be(text, why):
    told = refusal(LoadFailed, request(config=text))

    assert told.startswith("failed to load 'm', failed to poll from model repository: ")
    assert why in told


def test_files_need_a_configuration():
    told = refusal(LoadFailed, request(**{"file:1/model.onnx": b"x"}))

    assert told.startswith("failed to load 'm', failed to poll from model repository")


def test_a_parameter_that_there_is_not():
    assert refusal(InvalidRequest, request(colour="red")) == (
        "unrecognized load parameter 'colour'."
    )


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [("config", b"{}", "string_param"), ("file:1/model.onnx", "x", "bytes_param")],
)
def test_a_parameter_of_the_wrong_type(key, value, expected):
    assert refusal(InvalidRequest, request(**{key: value})) == (
        f"invalid value type for load parameter '{key}', expected {expected}."
    )


@pytest.mark.parametrize(
    "path",
    ["", "1/", "/etc/passwd", "../x", "1/../x", "1/.hidden", "0/x", "a/x", "1/2/x", "1\\x/y"],
)
def test_a_path_that_leads_elsewhere(path):
    told = refusal(LoadFailed, request(**{"config": "{}", f"file:{path}": b"x"}))

    assert told.startswith(f"{NOT_THERE}: invalid load parameter 'file:{path}'")


@pytest.mark.parametrize("name", ["x" * 256, "é" * 128])
def test_a_name_that_no_file_can_have(name):
    told = refusal(LoadFailed, request(**{"config": "{}", f"file:1/{name}": b"x"}))

    assert told.startswith(f"{NOT_THERE}: invalid load parameter 'file:1/")
    assert told.endswith("with a name of at most 255 bytes")
    assert len(told) < 400


@pytest.mark.parametrize("others", [{}, {"file:1/../x": b"x"}, {"config": "no json"}])
def test_of_several_faults_the_same_is_told_whatever_their_order(others):
    faults = {"colour": "red", **others}

    forwards = refusal(InvalidRequest, request(**faults))
    backwards = refusal(InvalidRequest, request(**dict(reversed(faults.items()))))

    assert forwards == backwards == "unrecognized load parameter 'colour'."


def test_a_bad_file_is_told_before_a_bad_configuration():
    for made in (
        request(**{"config": "no json", "file:1/../x": b"x"}),
        request(**{"file:1/../x": b"x", "config": "no json"}),
    ):
        told = refusal(LoadFailed, made)
        assert told.startswith(f"{NOT_THERE}: invalid load parameter 'file:1/../x'")


def test_files_that_are_too_large():
    made = request(**{"config": "{}", "file:1/a": b"x" * 700_000, "file:1/b": b"x" * 700_000})

    assert refusal(InvalidRequest, made).startswith(
        "the files of an override hold 1.3 MiB, and 1 MiB is the most (--max-override-mib)"
    )


@pytest.mark.parametrize("name", [".", "..", "a/b", "../a", "a\\b", "a\0"])
def test_a_name_that_leads_elsewhere(name):
    with pytest.raises(InvalidRequest, match="must not contain path traversal characters"):
        check_name(name)


def test_a_name_is_needed():
    with pytest.raises(InvalidRequest, match="Model name cannot be empty"):
        check_name("")


def test_a_configuration_that_is_too_long_is_refused_by_the_limit():
    text = refusal(InvalidRequest, request(config="[" * 262_145))

    assert text == "the parameter 'config' may have 262144 characters, and this one has 262145"


def test_a_configuration_that_is_nested_too_deep_is_refused():
    for config in ("[" * 200_000, '{"parameters":' * 10_000):
        assert "config override: " in refusal(LoadFailed, request(config=config))


def test_a_name_that_no_directory_can_have():
    check_name("m" * 255)

    with pytest.raises(InvalidRequest, match="must not be longer than 255 bytes"):
        check_name("\u00e9" * 128)
