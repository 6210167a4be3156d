"""docs/architecture.md says what the modules say; each chapter, file and function can be read."""

import ast
import importlib.util
from collections import Counter
from functools import cache
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[2]
CHAPTERS = [
    init.parent.relative_to(ROOT)
    for role in ("gateway", "scheduler", "workers", "protos", "src/penstock")
    for init in (ROOT / role).rglob("__init__.py")
]
SOURCES = [
    path
    for role in ("gateway", "scheduler", "workers", "protos", "src/penstock")
    for path in sorted((ROOT / role).rglob("*.py"))
    if "_pb2" not in path.name
]
BESIDE = [
    path
    for folder in ("tests", "bench", "tools", "examples")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if "_pb2" not in path.name
]


@cache
def _page():
    spec = importlib.util.spec_from_file_location("architecture", ROOT / "tools/architecture.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool.PAGE, tool.page()


def test_the_page_is_what_the_modules_say():
    path, text = _page()

    assert path.read_text() == text, "run: make docs"


@pytest.mark.parametrize("chapter", CHAPTERS, ids=str)
def test_each_chapter_says_what_it_is_about(chapter):
    assert ast.get_docstring(ast.parse((ROOT / chapter / "__init__.py").read_text()))
    assert f"### {chapter}/" in _page()[1]


@pytest.mark.parametrize("chapter", CHAPTERS, ids=str)
def test_no_chapter_is_too_long_to_look_over(chapter):
    modules = [p for p in (ROOT / chapter).glob("*.py") if "_pb2" not in p.name]

    assert len(modules) <= 14


def test_no_folder_of_tests_or_tools_is_too_long_to_look_over():
    counts = Counter(path.parent.relative_to(ROOT) for path in BESIDE)

    assert {str(folder): count for folder, count in counts.items() if count > 14} == {}


def test_no_file_is_too_long_to_read():
    long = {str(p.relative_to(ROOT)) for p in SOURCES + BESIDE if p.read_text().count("\n") > 400}

    assert long == set()


def test_no_function_is_too_long_to_keep_in_mind():
    assert {str(p.relative_to(ROOT)): long for p in SOURCES if (long := _long(p))} == {}


def _long(path):
    return {
        node.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if node.end_lineno - node.lineno >= 40
    }


def test_no_modules_import_each_other():
    graph = grimp.build_graph("penstock", cache_dir=None)
    imported = {m: graph.find_modules_directly_imported_by(m) for m in graph.modules}

    assert _cycles(imported) == []


def _cycles(imported):
    """Sets of modules that import each other, directly or through others of their set."""
    left = dict(imported)
    # What imports nothing that is left is in no cycle.
    while ends := [m for m in left if not left[m] & left.keys()]:
        for module in ends:
            del left[module]
    reached = {module: _reached(left, module) for module in left}
    found = {frozenset(n for n in reached[m] if m in reached[n]) for m in left}
    return [set(cycle) for cycle in found if cycle]


def _reached(imported, start):
    seen, ahead = set(), [start]
    while ahead:
        for module in imported[ahead.pop()] & imported.keys() - seen:
            seen.add(module)
            ahead.append(module)
    return seen


def test_a_cycle_is_found():
    imported = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set(), "e": {"e", "a"}}

    assert sorted(map(sorted, _cycles(imported))) == [["b", "c"], ["e"]]
