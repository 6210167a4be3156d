"""Each target of the fuzz takes its seeds, and some changes of them, within its bounds."""

import importlib
from random import Random

import pytest
from fuzz.engine import Watch
from fuzz.run import KINDS

TARGETS = [
    pytest.param(target, id=f"{kind}: {target.name}")
    for kind in KINDS
    for target in importlib.import_module(f"fuzz.targets.{kind}").TARGETS
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("target", TARGETS)
def test_hostile_input_ends_as_a_caller_is_told(target):
    random, watch = Random(1), Watch(target)  # noqa: S311 - not for secrets

    for seed in target.seeds:
        data = seed
        for _ in range(20):
            watch.feed(data)
            data = (target.mutate or (lambda data, _: data))(data, random)
            if len(data) > 4096:
                data = seed

    assert not watch.tally.failures
