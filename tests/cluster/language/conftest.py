"""A cluster with one tiny language model on two workers, and the same version in this process."""

import pytest
from support.clients.answers import Answers
from support.models.language_versions import Local, write_model
from support.processes.cluster import Cluster


@pytest.fixture(scope="session")
def language_cluster(tmp_path_factory):
    folder = tmp_path_factory.mktemp("language")
    options = ("--lease-ms", "2000", "--http", "--http-port", "0")
    with Cluster(folder / "cluster", write_model(folder), *options).running() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def local(language_cluster):
    return Local(language_cluster.models / "tiny/1")


@pytest.fixture
def answers(language_cluster):
    with Answers(language_cluster.url) as answers:
        yield answers
