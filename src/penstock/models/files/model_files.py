"""What lies beside the versions of a model: its configuration, and the files that this names."""

from pathlib import Path
from typing import Final

from penstock.errors import InvalidConfiguration
from penstock.models.config import model_config, warmup
from penstock.models.files.artifacts import inside, shown
from penstock.protos import cluster_pb2 as pb
from penstock.protos import model_config_pb2 as config_pb

CONFIG: Final = "config.pbtxt"

_MOST_STATE_BYTES: Final = 1 << 20


def configuration_of(
    base: Path, folder: Path, override: config_pb.ModelConfig | None = None
) -> tuple[config_pb.ModelConfig, dict[str, pb.Labels]]:
    """The configuration of the model in *folder*, or *override* in its place; and its labels.

    Args:
        base: the repository, resolved: all files must really be inside.

    Raises:
        PenstockError, OSError: it cannot be used; says what to do.
    """
    path = folder / CONFIG
    source = f"{folder.name}/{CONFIG}"
    config = config_pb.ModelConfig()
    checks_code = override is not None and override.backend == model_config.PYTHON
    if (override is None or checks_code) and (path.exists() or path.is_symlink()):
        config = model_config.parse(_text(base, path), source)
    if override is not None:
        _check_code(config, override, folder.name)
        config = override
    if config.name not in ("", folder.name):
        raise InvalidConfiguration(
            f"{source}: name is '{config.name}', but the directory is '{folder.name}': "
            "make them equal, or remove name"
        )
    files = sorted({output.label_filename for output in config.output} - {""})
    return config, {file: _labels(base, folder, file) for file in files}


def _check_code(own: config_pb.ModelConfig, override: config_pb.ModelConfig, model: str) -> None:
    """What is run as Python is the repository's to say, and nobody else's."""
    python = model_config.PYTHON
    same = (own.backend, own.default_model_filename) == (python, override.default_model_filename)
    if override.backend == python and not same:
        raise InvalidConfiguration(
            f"an override cannot make '{model}' a Python model, or name another file of it: "
            f"only {model}/{CONFIG} in the repository can"
        )


def _labels(base: Path, folder: Path, file: str) -> pb.Labels:
    path = folder / file
    if not path.is_file():
        raise InvalidConfiguration(
            f"{folder.name}/{CONFIG}: label_filename '{file}' is not in the model's directory"
        )
    return pb.Labels(values=[line.strip() for line in _text(base, path).splitlines()])


def sample_files(base: Path, folder: Path, config: config_pb.ModelConfig) -> list[Path]:
    """The files that `model_warmup` reads."""
    paths = [folder / warmup.FOLDER / file for file in warmup.files(config)]
    for path in paths:
        if not path.is_file():
            raise InvalidConfiguration(
                f"{folder.name}/{CONFIG}: model_warmup reads '{path.relative_to(folder)}', which "
                "is not in the model's directory: put it there, or correct input_data_file"
            )
        inside(base, path)
    return paths


def initial_states(base: Path, folder: Path, config: config_pb.ModelConfig) -> dict[str, bytes]:
    """The files that the states of sequences begin with."""
    initials = [one for state in config.sequence_batching.state for one in state.initial_state]
    found: dict[str, bytes] = {}
    for file in sorted({one.data_file for one in initials} - {""}):
        path = folder / "initial_state" / file
        if not path.is_file():
            raise InvalidConfiguration(
                f"{folder.name}/{CONFIG}: data_file '{file}' is not in {folder.name}/initial_state"
            )
        inside(base, path)
        if path.stat().st_size > _MOST_STATE_BYTES:
            raise InvalidConfiguration(
                f"{folder.name}/{CONFIG}: data_file '{file}' is larger than "
                f"{_MOST_STATE_BYTES} bytes"
            )
        found[file] = path.read_bytes()
    return found


def _text(base: Path, path: Path) -> str:
    inside(base, path)
    try:
        # Editors of Windows put a mark in front, which nobody sees.
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidConfiguration(f"{shown(path)} is not UTF-8 text: {error}") from None
