"""What a worker imports before it knows which runtime its shard is for."""

import subprocess
import sys

HEAVY = ("onnxruntime", "torch", "tokenizers", "jinja2", "llguidance", "gguf", "safetensors")


def test_a_worker_imports_no_runtime_that_its_shard_may_not_need():
    program = f"import sys, penstock.workers.app; print(sorted(sys.modules.keys() & set({HEAVY})))"
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert found.stdout == "[]\n"
