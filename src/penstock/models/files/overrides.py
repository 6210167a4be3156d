"""Overrides: files that came with a load request, laid out as a repository would have them."""

import contextlib
import tempfile
from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path

from penstock.errors import ArtifactUnusable, InvalidConfiguration
from penstock.models.config.model_config import PYTHON
from penstock.models.files.artifacts import RUNTIMES
from penstock.models.files.repository import scan_model
from penstock.models.files.uploaded_files import check_uploaded, is_override_path
from penstock.process.private_directories import temporary_directory
from penstock.protos import cluster_pb2 as pb
from penstock.protos import model_config_pb2 as config_pb

Fetch = Callable[[pb.File], Awaitable[bytes]]
"""Gets what a file holds; raises ArtifactUnusable where that is gone."""


@contextlib.contextmanager
def override_folder() -> Iterator[Path]:
    """A directory for files that are needed for a moment; what a killed run left goes as well."""
    with temporary_directory(Path(tempfile.gettempdir()), "penstock-override-") as directory:
        yield directory.path


async def lay_out(fetch: Fetch, folder: Path, model: str, files: Iterable[pb.File]) -> None:
    """Write *files* of *model* below *folder*, as <model>/<version>/<file>.

    Raises:
        ArtifactUnusable: the content of one is gone, its name leads elsewhere, or it cannot be
            written here: the disk is full, or two names cannot stand beside each other.
    """
    for file in files:
        if not is_override_path(file.path) or Path(model).name != model:
            raise ArtifactUnusable(
                f"'{model}/{file.path}' cannot be the name of a file that came with a load"
            )
        content = await fetch(file)
        path = folder / model / file.path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        except OSError as error:
            raise ArtifactUnusable(
                f"{file.path}, which came with the load, cannot be written on this machine: "
                f"{error.strerror or error}"
            ) from error


def scan_override(
    folder: Path, model: str, config: config_pb.ModelConfig, files: Iterable[pb.File]
) -> list[pb.ModelVersion]:
    """The versions that the *files*, laid out in *folder*, make; each has its own files noted.

    Raises:
        InvalidConfiguration: they are code, which never comes over the network.
    """
    if config.backend == PYTHON:
        raise InvalidConfiguration(
            "a Python model is never loaded from files of an override: put it into a repository"
        )
    found = scan_model([folder], model, config)
    for record in found:
        start = f"{record.version}/"
        record.files.extend(file for file in files if file.path.startswith(start))
    return found


def check_override(folder: Path, version: pb.ModelVersion) -> None:
    """Refuse the files of *version*, laid out in *folder*, unless all of them are data.

    Raises:
        InvalidConfiguration: one may be code, or is to be run as something else than it is.
    """
    files = {file.path: (folder / version.model / file.path).read_bytes() for file in version.files}
    check_uploaded(config_pb.ModelConfig.FromString(version.config), files)
    for stage in version.stages:
        if stage.runtime != RUNTIMES[".onnx"] or not stage.artifact.endswith(".onnx"):
            raise InvalidConfiguration(
                f"{stage.artifact} came over the network, and {stage.runtime} would run it as code"
            )
