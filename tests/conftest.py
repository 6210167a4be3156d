"""What tests share: real stores and real clusters."""

import gc
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings
from support.processes.canaries import secrets_below, secrets_in
from support.processes.cluster import Cluster
from support.processes.fronts import fronts_of, serving_both
from support.processes.stores import redis, valkey

ROOT = Path(__file__).parent.parent
DIGITS = ROOT / "examples" / "digits"
HTTP = ("--http", "--http-port", "0")

# One port for all clusters of a machine: whoever needs HTTP says --http --http-port 0.
os.environ["PENSTOCK_HTTP"] = "false"

# No test may depend on how fast the machine is. Longer: pytest --hypothesis-profile nightly
settings.register_profile("usual", deadline=None)
NIGHTLY = max(1, round(2000 * float(os.environ.get("CHAOS_SHARE", "1"))))
settings.register_profile("nightly", max_examples=NIGHTLY, stateful_step_count=50, deadline=None)
settings.load_profile("usual")


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """What is imported and collected stays: the garbage collector need not look at it."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """What takes moments comes last: processes that share tests out then end at one time."""
    items.sort(key=lambda item: item.nodeid.startswith("tests/pure/"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """With ``--dist loadgroup`` one process runs all tests that share a cluster."""
    if config.getvalue("dist") != "loadgroup":
        return None
    from support.sharing_out import StartingOnce

    return StartingOnce(config, log)


@pytest.fixture(scope="session", autouse=True)
def _no_secret_in_any_log(tmp_path_factory):
    """Whatever ran, what its processes wrote holds no key, token or password."""
    yield
    assert secrets_below(tmp_path_factory.getbasetemp()) == {}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """What a test's own process wrote, neither."""
    report = yield
    if report.passed:
        written = {name: secrets_in(text) for name, text in report.sections}
        found = {name: secrets for name, secrets in written.items() if secrets}
        if found:
            report.outcome, report.longrepr = "failed", f"secrets were written: {found}"
    return report


SHARED = ("digits_cluster", "models_cluster")


def pytest_generate_tests(metafunc):
    """A cluster that files share is seen through one of its gateways, or each in its turn."""
    for name in SHARED:
        if name in metafunc.fixturenames:
            fronts = fronts_of(metafunc.definition)
            metafunc.parametrize(name, fronts, indirect=True, scope="session")


@pytest.fixture(scope="session")
def _valkey():
    with valkey() as store:
        yield store


@pytest.fixture(scope="session")
def _redis():
    store = redis()
    if store is None:
        if os.environ.get("CI") == "true":
            pytest.fail(
                "redis-server is missing: install it (Debian: apt-get install redis-server)"
            )
        pytest.skip("redis-server is not installed")
    with store:
        yield store


@pytest.fixture
def redis_url(_valkey):
    """An empty Valkey 9."""
    _valkey.command("FLUSHALL")
    return _valkey.url


@pytest.fixture
def redis_server(_redis):
    """An empty Redis 7.0, the oldest that Penstock runs on."""
    _redis.command("FLUSHALL")
    return _redis.url


@pytest.fixture(params=["valkey", "redis"])
def each_redis_url(request):
    """An empty store: the newest Valkey, and the oldest Redis."""
    return request.getfixturevalue({"valkey": "redis_url", "redis": "redis_server"}[request.param])


@pytest.fixture
def store():
    """A Valkey of the test's own, to be killed and started again."""
    with valkey() as own:
        yield own


@pytest.fixture
def cluster(tmp_path):
    """Starts clusters: ``cluster(models, "--processes", "2")``; each must end well."""
    started = []

    def start(models, *options, environment=None):
        folder = tmp_path / f"cluster-{len(started)}"
        one = Cluster(folder, models, *options, environment=environment)
        started.append(one)
        return one.start()

    try:
        yield start
        for one in started:
            one.stop()
    finally:
        for one in started:
            one.destroy()


@pytest.fixture(scope="session")
def digits_repository(tmp_path_factory):
    """All four versions of the digits: whole, two ONNX stages, two .pt2 stages, one of each."""
    folder = tmp_path_factory.mktemp("digits-repository")
    made = subprocess.run(
        [sys.executable, str(DIGITS / "train.py"), "--torch-versions", str(folder)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    return folder


@pytest.fixture(scope="session")
def _digits_clusters(digits_repository, tmp_path_factory):
    with serving_both(tmp_path_factory.mktemp("digits-cluster"), digits_repository, *HTTP) as both:
        yield both


@pytest.fixture(scope="session")
def digits_cluster(request, _digits_clusters):
    """A cluster that serves all four; tests must leave it as they found it."""
    return _digits_clusters[request.param]


@pytest.fixture
def onnx_digits(tmp_path):
    """A copy of the committed repository: versions 1 and 2, which need no torch."""
    return Path(shutil.copytree(DIGITS / "models", tmp_path / "models"))


@pytest.fixture
def unused_port():
    """A port of this machine at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
