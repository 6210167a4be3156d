"""Each planted fault has its place: one without would catch nothing, until somebody asks for it."""

import ast
import re

import pytest
from chaos import mutants
from chaos.planting import ROOT


@pytest.mark.parametrize("mutant", mutants.MUTANTS, ids=lambda mutant: mutant.name)
def test_it_can_be_planted(mutant):
    text = (ROOT / mutant.file).read_text()

    assert text.count(mutant.right) == 1
    assert mutant.wrong != mutant.right
    if mutant.file.endswith(".py"):
        ast.parse(text.replace(mutant.right, mutant.wrong))
    for catcher in mutant.catcher.split():
        file, *names = catcher.partition("[")[0].split("::")
        tests = (ROOT / file).read_text()
        assert [name for name in names if not re.search(rf"(def|class) {name}\b", tests)] == []
