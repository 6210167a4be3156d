"""A tiny language model, exported in one, two and three stages."""

import pytest
from support.models import tiny_language

from penstock.exporting.export import Order, export


@pytest.fixture(scope="session")
def versions(tmp_path_factory):
    """Stages -> the version's directory."""
    path = tmp_path_factory.mktemp("versions")
    folder = tiny_language.write_folder(path / "f")
    for stages in (1, 2, 3):
        export(folder, Order(path / f"{stages}", stages), lambda *_: None)
    return {stages: path / f"{stages}" for stages in (1, 2, 3)}
