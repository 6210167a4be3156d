"""What images have installed is what `pyproject.toml` asks for."""

import re
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[3]
sys.path.append(str(ROOT / "tools"))

from images.locks import EXTRAS, LEFT_OUT, lock_of  # noqa: E402

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
IMAGE = {
    **default_environment(),
    "platform_system": "Linux",
    "platform_machine": "x86_64",
    "python_version": "3.11",
}


def locked(target):
    """The versions, by name; each with a hash at least."""
    entries = re.split(r"^(?=\w)", lock_of(target).read_text(), flags=re.MULTILINE)[1:]
    assert all("--hash=sha256:" in entry for entry in entries)
    return dict(entry.split(" ", 1)[0].split("==") for entry in entries)


def asked(target):
    lines = list(PROJECT["dependencies"])
    for extra in EXTRAS[target]:
        lines += PROJECT["optional-dependencies"][extra]
    wanted = [Requirement(line) for line in lines]
    return [one for one in wanted if one.marker is None or one.marker.evaluate(IMAGE)]


@pytest.mark.parametrize("target", EXTRAS)
def test_each_has_what_is_asked_for_in_a_version_that_fits(target):
    found, left_out = locked(target), LEFT_OUT.get(target, ())

    missing = [
        str(one)
        for one in asked(target)
        if one.name not in left_out and not one.specifier.contains(found.get(one.name, "0"))
    ]

    assert missing == [], "run: make images-lock"


def test_only_the_image_with_torch_has_torch():
    assert {target for target in EXTRAS if "torch" in locked(target)} == {"torch"}


def test_a_gateway_has_no_runtime():
    assert not {"torch", "onnx", "onnxruntime", "onnxruntime-gpu"} & locked("gateway").keys()
