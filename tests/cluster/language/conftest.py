"""A cluster with one tiny language model on two workers, and the same version in this process."""

import pytest
from support.clients.answers import Answers
from support.models import tiny_language
from support.models.tiny_language import Shape
from support.processes.cluster import Cluster

from penstock.exporting.export import Order, export
from penstock.language.options import DecodingOptions
from penstock.workers.language.local import LocalModel

SHAPE = Shape(layers=4, heads=6, head_size=16, width=96, inner=384, context=256)


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


class Local:
    """The same version in this process; each answer is computed once.

    Attributes:
        tokenizer: the model's.
    """

    def __init__(self, directory):
        self._model = LocalModel.open(directory, 8, 256, threads=1)
        self._known = {}
        self.tokenizer = self._model.tokenizer

    def answer(self, text, *, special=True, **options):
        """Tokens and text of the answer to *text*."""
        key = text, special, tuple(sorted(options.items()))
        if key not in self._known:
            asked = DecodingOptions.of({"ignore_end": True, **options})
            tokens = self.tokenizer.encode(text, special=special)
            pieces = list(self._model.generate([tokens], asked))
            made = "".join(piece.text for piece in pieces)
            self._known[key] = [piece.token for piece in pieces], made
        return self._known[key]


@pytest.fixture(scope="session")
def local(language_cluster):
    return Local(language_cluster.models / "tiny/1")


@pytest.fixture
def answers(language_cluster):
    with Answers(language_cluster.url) as answers:
        yield answers
