"""What a worker imports before it knows which runtime its shard is for."""

import subprocess
import sys

import pytest

HEAVY = ("onnxruntime", "torch", "tokenizers", "jinja2", "llguidance", "gguf", "safetensors")


def imported_by(program):
    """Of what takes long to import, what *program* imports."""
    program = f"import sys; {program}; print(*sorted(sys.modules.keys() & set({HEAVY})))"
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return found.stdout.split()


def test_a_worker_imports_no_runtime_that_its_shard_may_not_need():
    assert imported_by("import penstock.workers.app") == []


@pytest.mark.parametrize(
    ("runtime", "libraries"),
    [("onnxruntime", ["onnxruntime"]), ("language", ["onnxruntime"]), ("python", [])],
)
def test_its_template_has_imported_what_its_runtime_needs(runtime, libraries):
    """Else each worker of this kind would do so, and hold it alone."""
    template = "from penstock.cli.serve.template import _import_all"

    assert imported_by(f"{template}; _import_all({runtime!r})") == libraries
