"""docs/architecture.md has the table of each chapter, as the modules say it themselves."""

import ast
import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHAPTERS = [
    init.parent.relative_to(ROOT)
    for role in ("gateway", "scheduler", "workers", "protos", "src/penstock")
    for init in (ROOT / role).rglob("__init__.py")
]


def _tool():
    spec = importlib.util.spec_from_file_location("architecture", ROOT / "tools/architecture.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool


def test_the_page_is_what_the_modules_say():
    tool = _tool()

    assert tool.PAGE.read_text() == tool.page(), "run: make docs"


@pytest.mark.parametrize("chapter", CHAPTERS, ids=str)
def test_each_chapter_says_what_it_is_about(chapter):
    assert ast.get_docstring(ast.parse((ROOT / chapter / "__init__.py").read_text()))
    assert f"### {chapter}/" in _tool().page()


@pytest.mark.parametrize("chapter", CHAPTERS, ids=str)
def test_no_chapter_is_too_long_to_look_over(chapter):
    modules = [p for p in (ROOT / chapter).glob("*.py") if "_pb2" not in p.name]

    assert len(modules) <= 14
