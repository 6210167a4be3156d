"""docs/architecture.md has one line for each module, and none for what is gone."""

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/architecture.md").read_text()
NAMED = set(re.findall(r"`((?:\w+/)*[\w*]+\.(?:py|proto|lua))`", PAGE))
FOLDERS = ("protos", "gateway", "scheduler", "workers")


def _files():
    """Every source file that people write, by its path below the repository's root."""
    own = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.is_file()]
    return [path.relative_to(ROOT) for path in (*own, *(ROOT / "src/penstock").glob("*.py"))]


MODULES = [
    path
    for path in _files()
    if path.suffix == ".py" and not re.search(r"^__|_pb2(_grpc)?\.py$", path.name)
]


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_each_module_has_a_line(module):
    assert any(fnmatch(module.name, name) for name in NAMED)


def test_each_line_is_about_a_file():
    files = [f"/{path.as_posix()}" for path in _files()]

    assert len(NAMED) > 100
    assert [name for name in NAMED if not any(fnmatch(one, f"*/{name}") for one in files)] == []
