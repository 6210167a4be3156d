"""What the faults share: a seed, a size, a history and its judgement."""

import os
import random
import secrets
from pathlib import Path

import pytest
from chaos.engine.measures import row_of
from chaos.engine.picture import draw
from chaos.engine.report import Report
from chaos.engine.run import Run
from support.processes.stores import redis, valkey

LONG = os.environ.get("CHAOS") == "long"
SHARE = float(os.environ.get("CHAOS_SHARE", "1"))
REPORT = Path(os.environ.get("CHAOS_REPORT", Path(__file__).parents[2] / "chaos-report"))
_REPORTS = pytest.StashKey()


def pytest_configure(config):
    config.stash[_REPORTS] = Report(REPORT)
    # Drawn once: processes that share the runs out among them must mean the same ones.
    if LONG and "CHAOS_SEED" not in os.environ:
        count = int(os.environ.get("CHAOS_SEEDS", "3"))
        drawn = [secrets.randbelow(10**6) for _ in range(count)]
        os.environ["CHAOS_SEED"] = ",".join(map(str, drawn))


def pytest_sessionfinish(session):
    """Where pytest-xdist runs tests in several processes, each hands its rows to the first."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["rows"] = session.config.stash[_REPORTS].rows


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    node.config.stash[_REPORTS].rows += getattr(node, "workeroutput", {}).get("rows", [])


def pytest_terminal_summary(terminalreporter, config):
    report = config.stash[_REPORTS]
    if report.rows:
        terminalreporter.section("faults")
        terminalreporter.write(report.finish())


def pytest_generate_tests(metafunc):
    """Each fault runs with seed 1 in `make chaos`, and with new ones at night."""
    if "seed" in metafunc.fixturenames:
        seeds = os.environ.get("CHAOS_SEED", "1").split(",")
        metafunc.parametrize("seed", [int(seed) for seed in seeds])


@pytest.fixture
def chance(seed):
    """All that a run draws, it draws from here."""
    print(f"repeat it with CHAOS_SEED={seed}")
    return random.Random(seed)  # noqa: S311


class Size:
    """How much of a fault.

    ``size(short, long)``: how many in `make chaos`, and how many at night; CHAOS_SHARE, of the
    latter, is for those who have less time. ``size.of(short, long)``: what else is different.
    """

    def __call__(self, short, long):
        return max(short, round(SHARE * long)) if LONG else short

    def of(self, short, long):
        return long if LONG else short


@pytest.fixture
def size():
    return Size()


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
        item.config.stash[_REPORTS].rows.append(row_of(one))
        if LONG and one.events:
            draw(one, REPORT / f"{one.folder.name}.png")
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
