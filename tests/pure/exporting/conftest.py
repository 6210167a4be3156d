"""ONNX exports that the tools of others made, for tests of how they are read."""

import shutil

import pytest
from support.exports.originals import unpacked


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """The folder of all of them."""
    return unpacked(tmp_path_factory.mktemp("exports"))


@pytest.fixture
def copied(exports, tmp_path):
    """A copy of the export of a name."""
    return lambda name: shutil.copytree(exports / name, tmp_path / name)


@pytest.fixture
def genai(copied):
    return copied("genai-llama")


@pytest.fixture
def optimum(copied):
    return copied("optimum-llama3")
