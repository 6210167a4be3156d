"""The commands over TLS, and a cluster on one machine whose gateway wants certificates."""

import pytest
from conftest import ROOT
from support.authority import Authority
from support.processes.cluster import Cluster
from support.processes.forks import ended

MODELS = ROOT / "examples" / "digits" / "models"
SECRET = "psk_canary_0123456789"  # noqa: S105 - nobody's


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def proof(authority):
    """The options of whoever is known."""
    team = authority.issue("team", "team.example")
    return (
        *("--ca", str(authority.path), "--cert", str(team.certificate)),
        *("--key", str(team.key)),
    )


@pytest.fixture(scope="module", params=["aio", "asgi"])
def cluster(request, authority, tmp_path_factory):
    pair, folder = authority.server(), tmp_path_factory.mktemp("cluster")
    options = (
        *("--grpc-front", request.param, "--tls-cert", str(pair.certificate)),
        *("--tls-key", str(pair.key), "--tls-client-ca", str(authority.path)),
    )
    with Cluster(folder, MODELS, *options).running() as cluster:
        yield cluster


def test_every_command_comes_in_with_its_certificate(cluster, proof):
    url = ("--url", cluster.url, *proof)
    image = f"image=@{ROOT / 'examples/digits/images/7.png'}"

    for words in (
        ("status",),
        ("models", "ls"),
        ("jobs", "dead", "ls"),
        ("infer", "digits", "--input", image),
        ("bench", "digits", "--duration-s", "0.2", "--warmup-s", "0", "--json"),
    ):
        status, text = ended(*words, *url)
        assert status == 0, text


def test_a_command_says_what_is_in_its_way(cluster, authority):
    _, plain = ended("status", "--url", cluster.url)
    _, unknown = ended("infer", "digits", "--url", cluster.url, "--ca", str(authority.path))

    assert "it speaks TLS, and the client does not" in plain
    assert "give --cert and --key" in unknown


def test_a_token_is_never_shown(cluster, proof, tmp_path):
    """One that was written on the command line by mistake neither."""
    words = ("status", "--url", cluster.url, *proof)
    (tmp_path / "token").write_text(f"{SECRET}\n")

    status, text = ended(*words, "--token", SECRET)
    assert status == 1
    assert "in the variable PENSTOCK_TOKEN" in text
    assert SECRET not in text
    assert ended(*words, "--token", str(tmp_path / "token"))[0] == 0
    assert ended(*words, PENSTOCK_TOKEN=SECRET)[0] == 0
    assert SECRET not in cluster.output()
