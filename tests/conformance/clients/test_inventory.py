"""Every row of the protocol has tests, and they are there."""

import ast
import importlib.util
import re
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TESTS = HERE.parent.parent


def _module(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


inventory = _module(HERE / "inventory.py")
ROWS = inventory.MESSAGES | inventory.SEMANTICS | inventory.CALLS


@cache
def named_in(file):
    """What a file of tests defines: "test", "Class::test", and "TABLE[case]"."""
    found = set()
    for one in ast.parse((TESTS / file).read_text()).body:
        if isinstance(one, ast.ClassDef):
            inside = (ast.FunctionDef, ast.AsyncFunctionDef)
            found |= {f"{one.name}::{part.name}" for part in one.body if isinstance(part, inside)}
        elif isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(one.name)
        elif isinstance(one, ast.Assign) and isinstance(one.value, ast.Dict):
            table = one.targets[0].id
            keys = (key.value for key in one.value.keys if isinstance(key, ast.Constant))
            found |= {f"{table}[{key}]" for key in keys}
    return found


@pytest.mark.parametrize("row", ROWS)
def test_a_rows_tests_are_there(row):
    tests = ROWS[row]
    if isinstance(tests, inventory.Open | inventory.Never):
        assert tests[0]
        return

    assert tests
    for test in tests:
        file, _, name = test.partition("::")
        assert name in named_in(file), f"{test} is not there"


def test_no_row_is_in_two_tables():
    tables = (inventory.MESSAGES, inventory.SEMANTICS, inventory.CALLS)

    assert len(ROWS) == sum(map(len, tables))


def test_every_case_of_the_refusals_is_in_a_row():
    file = "conformance/features/test_refusals.py"
    used = {test.partition("::")[2] for tests in ROWS.values() for test in tests if file in test}
    cases = {name for name in named_in(file) if re.match(r"REFUSED\[", name)}

    assert cases <= used
