"""A cluster with one tiny language model on two workers, and the same version in this process."""

import pytest
from support.clients.answers import Answers
from support.models import tiny_language
from support.models.tiny_language import Shape
from support.processes.cluster import Cluster

from penstock.exporting.export import Order, export
from penstock.workers.language.local import LocalModel

SHAPE = Shape(layers=6, heads=8, head_size=16, width=128, inner=512, context=400)


def write_model(folder):
    """A repository with one language model, which two workers have."""
    export(
        tiny_language.write_folder(folder / "checkpoint", SHAPE),
        Order(folder / "models/tiny/1"),
        lambda *_: None,
    )
    config = folder / "models/tiny/config.pbtxt"
    config.write_text(config.read_text() + "instance_group { count: 2 kind: KIND_CPU }\n")
    return folder / "models"


@pytest.fixture(scope="session")
def language_cluster(tmp_path_factory):
    folder = tmp_path_factory.mktemp("language")
    options = ("--lease-ms", "2000", "--http", "--http-port", "0")
    with Cluster(folder / "cluster", write_model(folder), *options).running() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def local(language_cluster):
    """The same version in this process."""
    return LocalModel.open(language_cluster.models / "tiny/1", 1, 400, threads=1)


@pytest.fixture
def answers(language_cluster):
    with Answers(language_cluster.url) as answers:
        yield answers
