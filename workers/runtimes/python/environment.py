"""The environment of a Python model: packages of its own, beside those of the node."""

import site
import sys
from pathlib import Path
from typing import Final

from penstock.errors import ArtifactUnusable
from penstock.protos import model_config_pb2 as config_pb

PARAMETER: Final = "EXECUTION_ENV_PATH"
"""A parameter of config.pbtxt: where the environment is, as Triton calls it."""

_MODEL_FOLDER: Final = "$$TRITON_MODEL_DIRECTORY"
"""In that path: the model's directory, whose versions and config.pbtxt are there."""

_ARCHIVES: Final = (".gz", ".tgz", ".tar", ".zip", ".bz2", ".xz")


def enter_environment(config: config_pb.ModelConfig, model_folder: Path) -> None:
    """Let this process import what is installed in the environment that *config* names, if any.

    It stays this process's Python: an environment is used that was made for the same version of
    it. What the process has imported already, numpy for one, stays as it is.

    Raises:
        ArtifactUnusable: there is no such environment, or it is for another Python.
    """
    if PARAMETER not in config.parameters:
        return
    text = config.parameters[PARAMETER].string_value
    path = Path(text.replace(_MODEL_FOLDER, str(model_folder)))
    if path.suffix in _ARCHIVES:
        raise ArtifactUnusable(
            f"{PARAMETER}: {path.name} is an archive, and a node takes a directory: unpack it, or "
            "make one with python -m venv"
        )
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = path / "lib" / version / "site-packages"
    if not packages.is_dir():
        raise ArtifactUnusable(
            f"{PARAMETER}: {path} has no lib/{version}/site-packages: make it with the Python that "
            "the node runs on"
        )
    before = list(sys.path)
    site.addsitedir(str(packages))
    added = [entry for entry in sys.path if entry not in before]
    sys.path[:] = [*added, *before]
