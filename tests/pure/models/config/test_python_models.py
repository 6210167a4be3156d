"""Python models in a repository: published by what they are made of, placed where they may run."""

import pytest
from support.models.python_models import NUMBERS, config, write_python
from support.models.repositories import put
from support.records import node, stage, version

from penstock.errors import InvalidConfiguration
from penstock.models.completion import complete
from penstock.models.config.model_config import parse
from penstock.models.files.overrides import scan_override
from penstock.models.files.repository import scan, scan_model
from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.decisions.placement import place

SETTINGS = config({"x": NUMBERS}, {"y": NUMBERS}, max_batch=8)
CODE = "class Model:\n    pass\n"


@pytest.fixture
def entry(tmp_path):
    return write_python(tmp_path, "m", CODE, SETTINGS, {"rules/words.txt": "one"})


def published(entry):
    (record,) = scan(entry.parent)
    return record


def error_of(entry):
    return published(entry).error


def where(nodes, *versions):
    plan = place(versions, nodes, [])
    return [p.node for p in plan.placements], set(plan.refusals.values())


def test_the_code_and_what_lies_beside_it_are_published(entry):
    (found,) = published(entry).stages

    assert (found.artifact, found.runtime) == ("m/1/model.py", "python")
    assert found.artifact_bytes == len(CODE) + len("one")


@pytest.mark.parametrize("changed", ["model.py", "rules/words.txt", "rules/more.py"])
def test_a_change_of_any_file_is_a_new_content(entry, changed):
    before = published(entry)

    put(entry / "1", {changed: "other"})

    assert published(entry).stages[0].fingerprint != before.stages[0].fingerprint
    assert published(entry).revision_id != before.revision_id


def test_compiled_code_and_hidden_files_change_nothing(entry):
    before = published(entry)

    put(entry / "1", {"__pycache__/model.pyc": "x", ".git/HEAD": "x", "rules/.swp": "x"})

    assert published(entry) == before


def test_moving_a_file_is_a_change(entry):
    before = published(entry)

    (entry / "1" / "rules" / "words.txt").rename(entry / "1" / "words.txt")

    assert published(entry).revision_id != before.revision_id


def test_it_runs_on_cpus_unless_its_owner_says_otherwise(entry):
    assert published(entry).device_kind == "cpu"
    (entry / "config.pbtxt").write_text(SETTINGS + "instance_group { kind: KIND_GPU }")
    assert published(entry).device_kind == "cuda"


def test_another_file_can_be_named(entry):
    put(entry, {"config.pbtxt": SETTINGS + 'default_model_filename: "rules.py"'})
    put(entry / "1", {"rules.py": CODE})

    assert published(entry).stages[0].artifact == "m/1/rules.py"


def test_its_configuration_is_complete_as_it_is(entry):
    record = published(entry)
    signature = pb.Signature(
        inputs=[pb.TensorSpec(name="x", datatype="FP32", shape=[-1, -1])],
        outputs=[pb.TensorSpec(name="y", datatype="FP32", shape=[-1, -1])],
    )

    found = complete(record, [signature]).config

    assert (found.backend, found.platform) == ("python", "")
    assert found.default_model_filename == "model.py"
    assert not found.HasField("dynamic_batching")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (SETTINGS + 'default_model_filename: "model.onnx"', "must end in .py"),
        (SETTINGS + 'default_model_filename: "rules.py"', "default_model_filename, is not there"),
        (SETTINGS + 'platform: "onnxruntime_onnx"', "platform is 'onnxruntime_onnx'"),
        (
            SETTINGS + "model_transaction_policy { decoupled: true } "
            "dynamic_batching { preserve_ordering: true }",
            "models answer as their responses come: remove dynamic_batching.preserve_ordering",
        ),
        (
            SETTINGS + "model_transaction_policy { decoupled: true } "
            'parameters { key: "concurrent_requests" value { string_value: "many" } }',
            "parameters['concurrent_requests'] is 'many': write a number from 1 to 1024",
        ),
        ("", 'a Python model needs a config.pbtxt that says backend: "python"'),
    ],
)
def test_what_cannot_be_served_is_told(entry, settings, said):
    (entry / "config.pbtxt").write_text(settings)

    assert said in error_of(entry)


def test_an_artifact_that_answers_once_cannot_be_decoupled(tmp_path):
    put(
        tmp_path,
        {
            "m/1/model.onnx": "x",
            "m/config.pbtxt": "model_transaction_policy { decoupled: true }",
        },
    )

    assert error_of(tmp_path / "m") == (
        "m/config.pbtxt: model_transaction_policy.decoupled is only for Python models, which can "
        "yield: an artifact for onnxruntime answers each request once; remove it"
    )


def test_a_linked_directory_is_refused_since_its_files_could_change_unseen(entry):
    (entry / "1" / "link").symlink_to(entry / "1" / "rules", target_is_directory=True)

    assert "put the directory itself there" in error_of(entry)


def test_a_file_that_leads_out_of_the_repository_is_refused(entry, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "words.txt"
    outside.write_text("x")
    (entry / "1" / "words.txt").symlink_to(outside)

    assert "leads out of the repository" in error_of(entry)


# what comes with a load


def test_a_configuration_that_came_with_a_load_cannot_turn_a_file_into_code(tmp_path):
    put(tmp_path, {"m/1/model.onnx": "x", "m/1/model.py": CODE})

    (record,) = scan_model([tmp_path], "m", parse(SETTINGS, "override"))

    assert "only m/config.pbtxt in the repository can" in record.error


def test_it_cannot_name_another_file_to_run(entry):
    put(entry / "1", {"tool.py": CODE})
    override = parse(SETTINGS + 'default_model_filename: "tool.py"', "override")

    (record,) = scan_model([entry.parent], "m", override)

    assert "name another file" in record.error


def test_it_may_change_the_rest_of_a_python_model(entry):
    override = parse(SETTINGS + "instance_group { count: 2 kind: KIND_CPU }", "override")

    (record,) = scan_model([entry.parent], "m", override)

    assert (record.error, record.replicas) == ("", 2)


def test_code_that_came_with_a_load_is_refused(entry):
    with pytest.raises(InvalidConfiguration, match="never loaded from files of an override"):
        scan_override(entry.parent, "m", parse(SETTINGS, "override"), [pb.File(path="1/model.py")])


# where it runs


def test_it_is_placed_on_nodes_that_run_code_only():
    code = version(stage(runtime="python"), replicas=3)
    nodes = [node("a"), node("b", runs_python=True), node("c")]

    assert where(nodes, code) == (["b", "b", "b"], set())


def test_without_such_a_node_the_reason_says_what_to_do():
    nodes = [node("a"), node("b")]

    placed, reasons = where(nodes, version(stage(runtime="python")), version(model="other"))

    assert len(placed) == 1
    (reason,) = reasons
    assert "start a node with --allow-python-models" in reason


def test_a_node_that_no_longer_runs_code_loses_it():
    code = version(stage(runtime="python"))
    before = place([code], [node("a", runs_python=True)], []).placements

    assert place([code], [node("a")], before).placements == ()
