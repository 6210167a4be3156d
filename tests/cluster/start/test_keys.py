"""``penstock up`` with keys: nobody gets in without one, and no secret is seen anywhere."""

import re

import numpy as np
import psutil
import pytest
from support.models.ensembles import write_scale
from support.processes.cluster import Cluster
from support.processes.commands import spawn

from penstock.client import Client, failures

ROW = np.ones((1, 4), dtype=np.float32)


@pytest.fixture(scope="module")
def keyed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keyed")
    write_scale(folder / "models", "triple", 3)
    one = Cluster(folder / "cluster", folder / "models", "--auth", "keys", "--log-level", "debug")
    with one.running():
        yield one


@pytest.fixture(scope="module")
def secret(keyed):
    """A key's, made as the cluster said."""
    store = re.search(r"PENSTOCK_REDIS=(\S+) penstock keys create", keyed.output())[1]
    made = spawn("keys", "create", "a", environment={"PENSTOCK_REDIS": store})
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


def test_whoever_has_a_key_is_answered(keyed, secret):
    with Client(keyed.url, token=secret) as client:
        assert client.infer("triple", {"x": ROW})["y"].tolist() == (3 * ROW).tolist()


def test_whoever_has_none_is_not(keyed):
    with Client(keyed.url) as client, pytest.raises(failures.CallFailed, match="keys create"):
        client.infer("triple", {"x": ROW})


def test_commands_say_how_to_show_a_key(keyed, secret):
    without = spawn("status", "--url", keyed.url)
    shown = spawn("status", "--url", keyed.url, environment={"PENSTOCK_TOKEN": secret})

    assert without.returncode == 1
    assert "PENSTOCK_TOKEN" in without.stderr
    assert shown.returncode == 0, shown.stderr
    assert "triple" in shown.stdout


def test_load_is_made_with_a_key(keyed, secret):
    words = ("bench", "triple", "--url", keyed.url, "-d", "0.2", "--warmup-s", "0", "--json")

    made = spawn(*words, environment={"PENSTOCK_TOKEN": secret})

    assert made.returncode == 0, made.stderr


def test_no_secret_is_in_a_log_or_in_a_command_line(keyed, secret):
    """After all that the tests here have shown, right and wrong."""
    with Client(keyed.url, token=secret[:-1] + "x") as client, pytest.raises(failures.CallFailed):
        client.infer("triple", {"x": ROW})
    canaries = {secret, secret.split("_")[2]}
    family = psutil.Process(keyed.pid).children(recursive=True)
    seen = [keyed.output(), *(" ".join(process.cmdline()) for process in family)]

    assert not [text for text in seen for canary in canaries if canary in text]
    assert not re.search(r"psk_[a-z2-7]{10}_[a-z2-7]", "".join(seen))


@pytest.mark.parametrize("command", ["up", "gateway"])
def test_what_others_can_reach_does_not_start_without_keys(command):
    refused = spawn(
        command,
        "--host",
        "0.0.0.0",  # noqa: S104
        environment={"PENSTOCK_REDIS": "unix:///none"},
    )

    assert refused.returncode == 1
    assert "--auth keys" in refused.stderr
    assert "Traceback" not in refused.stderr
