"""What the faults share: a seed, a size, a history and its judgement."""

import os
import random
import secrets
from pathlib import Path

import pytest
from chaos.report import Report
from chaos.run import Run
from support.stores import redis, valkey

LONG = os.environ.get("CHAOS") == "long"
REPORT = Path(os.environ.get("CHAOS_REPORT", Path(__file__).parents[2] / "chaos-report"))
_REPORTS = pytest.StashKey()


def pytest_configure(config):
    config.stash[_REPORTS] = Report(REPORT, plots=LONG)


def pytest_terminal_summary(terminalreporter, config):
    report = config.stash[_REPORTS]
    if report.runs:
        terminalreporter.section("faults")
        terminalreporter.write(report.finish())


def pytest_generate_tests(metafunc):
    """Each fault runs with the seeds 1, 2 ... in `make chaos`, and with new ones at night."""
    if "seed" not in metafunc.fixturenames:
        return
    given = os.environ.get("CHAOS_SEED")
    if given:
        seeds = [int(seed) for seed in given.split(",")]
    elif LONG:
        seeds = [secrets.randbelow(10**6) for _ in range(3)]
    else:
        seeds = [1]
    metafunc.parametrize("seed", seeds)


@pytest.fixture
def chance(seed):
    """All that a run draws, it draws from here."""
    print(f"repeat it with CHAOS_SEED={seed}")
    return random.Random(seed)  # noqa: S311


@pytest.fixture
def size():
    """``size(short, long)``: how much in `make chaos`, and how much at night."""
    return lambda short, long: long if LONG else short


@pytest.fixture
def run(request, seed):
    """The run's history; it is judged when the test has ended (`pytest_runtest_call`)."""
    return Run(REPORT / "histories", request.node.name, seed)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    one = getattr(item, "funcargs", {}).get("run")
    if not isinstance(one, Run):
        return (yield)
    try:
        return (yield)
    except BaseException as error:
        one.error = f"{type(error).__name__}"
        raise
    finally:
        one.close()
        item.config.stash[_REPORTS].add(one)
        if one.error is None:
            assert not one.violations, one.verdict()


@pytest.fixture(params=["valkey", "redis"])
def each_store(request):
    """A Valkey 9 and a Redis 7 of the test's own."""
    made = {"valkey": valkey, "redis": redis}[request.param]()
    if made is None:
        pytest.skip("redis-server is not installed")
    with made as own:
        yield own
