"""Sessions over buffers of ours: where they compute, and what decides their bits."""

import dataclasses
import os
import subprocess
import sys

import onnxruntime
import pytest
from google.protobuf import text_format
from support.models.onnx_models import write_add_sub

from penstock.errors import ArtifactUnusable
from penstock.process import machine
from penstock.protos.model_config_pb2 import ModelConfig
from penstock.workers.runtimes.cuda_domain import cuda_domain, library_versions
from penstock.workers.runtimes.onnx_bound import elsewhere, providers_of
from penstock.workers.runtimes.onnx_options import CPU, CUDA
from penstock.workers.runtimes.runtime import DeviceRef

GPU = DeviceRef("cuda", 0, 1)
ACCELERATOR = (
    "optimization { execution_accelerators { gpu_execution_accelerator { name: '%s' %s } } }"
)


@dataclasses.dataclass
class Node:
    op_type: str


class Part:
    """What ONNX Runtime says of a part of a graph."""

    def __init__(self, ep_name, *operations):
        self.ep_name = ep_name
        self._nodes = [Node(one) for one in operations]

    def get_nodes(self):
        return self._nodes


def test_only_sizes_may_be_computed_elsewhere():
    parts = [Part(CUDA, "MatMul"), Part(CPU, "Squeeze"), Part(CPU, "TensorScatter", "Add")]

    assert elsewhere(parts, CUDA) == ["Add", "TensorScatter"]
    assert elsewhere(parts[:2], CUDA) == []


def test_onnx_runtime_says_where_it_computes_what(tmp_path):
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    artifact = write_add_sub(tmp_path) / "1" / "model.onnx"

    session = onnxruntime.InferenceSession(artifact, options, [CPU])
    parts = session.get_provider_graph_assignment_info()

    assert elsewhere(parts, CPU) == []
    assert elsewhere(parts, CUDA) == ["Add", "Sub"]


OPENING = """
import pathlib, sys
from penstock.errors import ArtifactUnusable
from penstock.workers.runtimes.onnx_bound import opened
from penstock.workers.runtimes.runtime import DeviceRef
try:
    opened("the stage", pathlib.Path(sys.argv[1]), DeviceRef("cuda", 0, 1))
except ArtifactUnusable as error:
    print("refused:", error)
"""


@pytest.mark.skipif(bool(machine.gpus()), reason="there is a GPU")
def test_without_a_gpu_it_says_what_to_do(tmp_path):
    """In a process of its own, which loads what there is of CUDA."""
    artifact = write_add_sub(tmp_path) / "1" / "model.onnx"

    command = [sys.executable, "-c", OPENING, str(artifact)]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout

    assert said.startswith("refused: ONNX Runtime cannot use the GPU on the stage")
    assert "KIND_CPU" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "0"),
        (ACCELERATOR % ("cuda", "parameters { key: 'use_tf32' value: '1' }"), "1"),
        ("parameters { key: 'gpu_mem_limit' value { string_value: '9' } }", "0"),
    ],
)
def test_nothing_is_rounded_to_tf32_unless_it_is_asked_for(text, expected):
    found = dict(providers_of(GPU, text_format.Parse(text, ModelConfig())))

    assert found[CUDA]["use_tf32"] == expected
    assert ("gpu_mem_limit" in found[CUDA]) == ("gpu_mem_limit" in text)


def test_language_models_are_computed_by_cuda_itself():
    config = text_format.Parse(ACCELERATOR % ("tensorrt", ""), ModelConfig())

    with pytest.raises(ArtifactUnusable, match=r"remove|install"):
        providers_of(GPU, config)


class Library:
    """CUDA's functions that tell versions."""

    def cudaRuntimeGetVersion(self, number):  # noqa: N802 - CUDA's name
        number._obj.value = 13020
        return 0

    def cublasGetProperty(self, which, number):  # noqa: N802 - CUDA's name
        number._obj.value = (13, 4, 7)[which]
        return 0

    class Told:
        """A function of C."""

        def __call__(self):
            return 91300

    cudnnGetVersion = Told()  # noqa: N815 - CUDA's name


def test_libraries_of_cuda_are_in_the_domain_as_far_as_they_tell():
    assert list(library_versions(lambda _: Library())) == [
        "CUDA 13.2",
        "cuBLAS 13.4.7",
        "cuDNN 91300",
    ]
    assert list(library_versions({"libcublas.so": Library()}.get)) == ["cuBLAS 13.4.7"]
    assert list(library_versions(lambda _: object())) == []


def test_a_domain_names_the_gpu_its_driver_and_the_runtime(tmp_path, monkeypatch):
    script = tmp_path / "nvidia-smi"
    script.write_text(
        '#!/bin/sh\ncase "$1" in\n*driver*) echo 580.65.06; echo 580.65.06;;\n'
        "*index*) echo '0, GPU-a, NVIDIA H200, 144000 MiB'; echo '1, GPU-b, NVIDIA L4, 9 MiB';;\n"
        "esac\n"
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    # Libraries of CUDA that this process has loaded stand in the middle.
    plain, rounding = cuda_domain(0, tf32=False), cuda_domain(1, tf32=True)

    assert plain.startswith("NVIDIA H200, driver 580.65.06, ")
    assert plain.endswith(f", ONNX Runtime {onnxruntime.__version__}")
    assert rounding.startswith("NVIDIA L4, driver 580.65.06, ")
    assert rounding.endswith(f", ONNX Runtime {onnxruntime.__version__}, TF32")
