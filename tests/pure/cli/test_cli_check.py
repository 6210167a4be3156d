"""``penstock check`` finds what is wrong, and says what to do about it."""

import json
import resource
import socket
import sys

import pytest
from support.models.config_models import write_picky
from support.models.ensembles import step, write_ensemble, write_scale
from support.models.onnx_models import write_add_sub
from support.models.python_models import NUMBERS, config, write_python
from support.processes.commands import invoke, too_wide

from penstock.cli.offline import findings
from penstock.process.machine import gpus

ECHO = """
    class Model:
        def execute(self, inputs, parameters):
            return {"y": inputs["x"]}
"""


def write_code(root, name, code):
    write_python(root, name, code, config({"x": NUMBERS}, {"y": NUMBERS}, max_batch=8))


@pytest.fixture
def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def models(tmp_path):
    """A repository with one good model."""
    write_add_sub(tmp_path / "models")
    return tmp_path / "models"


def verdicts(found):
    return {finding.subject: finding.verdict for finding in found}


class TestCommand:
    def test_all_is_well(self, models, free_port):
        result = invoke("check", models, "--port", free_port)

        assert result.exit_code == 0
        assert result.stdout.splitlines()[0].split() == ["check", "result"]
        assert "add_sub version 1   ok   1 stage: model.onnx" in result.stdout
        assert result.stdout.splitlines()[-1] == "No problems found."
        assert too_wide(result.stdout) == []

    def test_what_is_wrong_comes_with_a_remedy_and_an_exit_status(self, models, free_port):
        (models / "add_sub" / "1" / "model.onnx").write_bytes(b"")

        result = invoke("check", models, "--port", free_port)

        assert result.exit_code == 1
        assert "-> add_sub/1/model.onnx is empty" in result.stdout
        assert result.stdout.splitlines()[-1] == "1 problem found."
        assert too_wide(result.stdout) == []

    def test_several_things(self, tmp_path, free_port):
        result = invoke(
            *("check", tmp_path / "[none]", "--port", free_port, "--redis", "redis://127.0.0.1:1")
        )

        assert result.exit_code == 1
        assert "[none]" in result.stdout
        assert result.stdout.splitlines()[-1] == "2 problems found."
        assert too_wide(result.stdout) == []

    def test_scripts_read_json(self, models, free_port):
        result = invoke("check", models, "--json", "--port", free_port)

        found = {finding["subject"]: finding for finding in json.loads(result.stdout)}
        assert found["add_sub version 1"] == {
            "subject": "add_sub version 1",
            "verdict": "ok",
            "detail": "1 stage: model.onnx; runs requests of up to 8 rows one at a time: "
            "config.pbtxt has no dynamic_batching; ran on zeros",
            "remedy": "",
        }
        assert {"python", "extra server", "extra onnx", "memory", "open files"} <= found.keys()


class TestExtras:
    def test_that_are_there_show_versions(self):
        found = findings.installed("onnx")

        assert (found.verdict, found.remedy) == ("ok", "")
        assert "onnx 1." in found.detail

    @pytest.mark.parametrize(
        ("extra", "module", "verdict"),
        [("torch", "torch", "note"), ("onnx", "onnx", "note"), ("server", "redis", "wrong")],
    )
    def test_that_are_missing_are_named(self, monkeypatch, extra, module, verdict):
        """A gateway needs no runtime: that is only a note."""
        monkeypatch.setitem(sys.modules, module, None)

        assert findings.installed(extra) == findings.Finding(
            f"extra {extra}", verdict, f"missing: {module}", f"pip install 'penstock[{extra}]'"
        )


class TestMachine:
    def test_a_free_port(self, free_port):
        assert findings.port_free(free_port).verdict == "ok"

    def test_a_port_that_is_taken_is_a_note(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()

            found = findings.port_free(taken.getsockname()[1])

        assert (found.verdict, found.detail) == ("note", "Address already in use")
        assert "--port" in found.remedy

    def test_few_open_files_are_a_note(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (1000, hard))
        try:
            found = findings.open_files()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

        assert (found.verdict, found.detail.split(":")[0]) == ("note", "at most 1000")
        assert found.remedy.startswith("ulimit -n ")

    def test_memory_and_cores_are_told(self):
        assert "GiB, " in findings.memory().detail
        assert findings.memory().detail.endswith(" cores")

    def test_this_python_will_do(self):
        assert findings.python().verdict == "ok"

    @pytest.mark.skipif(bool(gpus()), reason="there is a GPU")
    def test_no_gpu_is_fine(self):
        assert findings.accelerators() == ("gpu", "ok", "none; models run on the CPU", "")


class TestRepository:
    def test_each_version_is_looked_at(self, models):
        write_add_sub(models, "other")
        (models / "other" / "1" / "model.onnx").unlink()

        assert verdicts(findings.repository(models)) == {
            "add_sub version 1": "ok",
            "other version 1": "wrong",
        }

    def test_a_pipeline_shows_its_stages(self, models):
        folder = models / "add_sub" / "1"
        (folder / "shard-1.pt2").write_bytes(b"x")
        (folder / "model.onnx").rename(folder / "shard-0.onnx")
        (models / "add_sub" / "config.pbtxt").unlink()

        (found,) = findings.repository(models, load=False)

        assert (found.verdict, found.detail) == ("ok", "2 stages: shard-0.onnx, shard-1.pt2")

    def test_an_artifact_that_cannot_be_loaded(self, models):
        (models / "add_sub" / "1" / "model.onnx").write_bytes(b"no graph")

        (found,) = findings.repository(models)

        assert (found.verdict, found.detail) == ("wrong", "cannot be served")
        assert "model.onnx" in found.remedy

    def test_what_is_guessed_is_shown(self, models):
        (models / "add_sub" / "config.pbtxt").unlink()

        (found,) = findings.repository(models)

        assert found.verdict == "ok"
        assert "batches up to 64: dimension 0 is 'batch' everywhere" in found.detail
        assert (
            "taken from the artifact: inputs INPUT0 INT32[-1,16], INPUT1 INT32[-1,16] and outputs "
            "OUTPUT0 INT32[-1,16], OUTPUT1 INT32[-1,16]"
        ) in found.detail

    def test_what_refuses_made_up_inputs_is_a_note(self, tmp_path):
        write_picky(tmp_path, "picky")

        (found,) = findings.repository(tmp_path)

        assert found.verdict == "note"
        assert "refuses made-up inputs, which says nothing of requests: " in found.detail
        assert "model_warmup" in found.remedy

    def test_a_sample_that_fails_is_wrong(self, tmp_path):
        """As for a worker: its owner has said that it is a request."""
        write_picky(tmp_path, "picky", 1)
        write_picky(tmp_path, "pleased", 95)

        found = {finding.subject: finding for finding in findings.repository(tmp_path)}

        assert found["picky version 1"].verdict == "wrong"
        assert "does not run on model_warmup 'usual': " in found["picky version 1"].remedy
        assert found["pleased version 1"].verdict == "ok"
        assert "ran on 1 sample(s) of model_warmup" in found["pleased version 1"].detail

    def test_a_configuration_that_does_not_go_with_its_artifact(self, models):
        (models / "add_sub" / "config.pbtxt").write_text(
            'output { name: "nowhere" data_type: TYPE_FP32 dims: [ 16 ] }'
        )

        (found,) = findings.repository(models)

        assert found.verdict == "wrong"
        assert "nowhere" in found.remedy

    def test_python_models_run_only_where_that_is_allowed(self, tmp_path):
        write_code(tmp_path, "good", ECHO)
        write_code(tmp_path, "bad", "class Nothing:\n    pass\n")

        assert verdicts(findings.repository(tmp_path)) == {
            "good version 1": "note",
            "bad version 1": "note",
        }
        assert verdicts(findings.repository(tmp_path, python_models=True)) == {
            "good version 1": "ok",
            "bad version 1": "wrong",
        }

    def test_an_ensemble_is_held_against_its_models(self, tmp_path):
        write_scale(tmp_path, "double", 2)
        write_ensemble(tmp_path, "chain", step("double", {"x": "IN"}, {"y": "OUT"}))
        write_ensemble(tmp_path, "lost", step("gone", {"x": "IN"}, {"y": "OUT"}))

        found = {finding.subject: finding for finding in findings.repository(tmp_path)}

        assert found["chain version 1"][1:] == ("ok", "an ensemble", "")
        assert found["lost version 1"].verdict == "wrong"
        assert (
            "contains models that are not available or ambiguous: gone"
            in found["lost version 1"].remedy
        )

    def test_an_ensembles_models_may_be_in_another_repository(self, tmp_path):
        write_scale(tmp_path / "parts", "double", 2)
        write_ensemble(tmp_path / "whole", "chain", step("double", {"x": "IN"}, {"y": "OUT"}))

        found = findings.repository(tmp_path / "whole", tmp_path / "parts")

        assert set(verdicts(found).items()) == {
            ("double version 1", "ok"),
            ("chain version 1", "ok"),
        }

    def test_an_ensemble_of_code_is_not_judged(self, tmp_path):
        write_code(tmp_path, "echo", ECHO)
        write_ensemble(tmp_path, "chain", step("echo", {"x": "IN"}, {"y": "OUT"}))

        assert verdicts(findings.repository(tmp_path))["chain version 1"] == "note"

    def test_a_model_without_versions(self, tmp_path):
        (tmp_path / "m").mkdir()

        (found,) = findings.repository(tmp_path)

        assert (found.subject, found.verdict) == ("m", "wrong")
        assert "m/1/model.onnx" in found.remedy

    def test_an_empty_repository(self, tmp_path):
        (found,) = findings.repository(tmp_path)

        assert (found.verdict, found.detail) == ("wrong", "holds no model")
        assert found.remedy == f"put a model at {tmp_path}/NAME/1/model.onnx"

    def test_a_repository_that_is_not_there(self, tmp_path):
        (found,) = findings.repository(tmp_path / "gone")

        assert (found.verdict, found.detail) == ("wrong", "cannot be used")
        assert "name a directory that holds one directory for each model" in found.remedy


def test_a_store_that_does_not_answer_is_told_without_its_password():
    found = findings.store("redis://user:secret@127.0.0.1:1")

    assert found.verdict == "wrong"
    assert "cannot be reached" in found.remedy
    assert "secret" not in "".join(found)
