"""The model repository: a directory in Triton's layout, read into records.

::

    <model>/config.pbtxt              optional
    <model>/<version>/model.onnx      a whole model; or model.pt2, or default_model_filename
    <model>/<version>/shard-0.onnx    or the stages of a pipeline, in order; kinds may be mixed
    <model>/<version>/shard-1.pt2
    <model>/<version>/model.py        or Python code, where config.pbtxt says backend: "python"
    <model>/<version>/                nothing, for an ensemble: its config.pbtxt says all

Nothing is loaded here: what an artifact holds is found out by the worker that loads it. Whatever
is wrong with the files becomes a record with an error, so that people see it where they look for
the model.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from penstock.errors import ArtifactUnusable, InvalidConfiguration, PenstockError
from penstock.protos import cluster_pb2 as pb
from penstock.protos import model_config_pb2 as config_pb
from penstock.scheduler import ensembles, model_config, warmup
from penstock.scheduler.artifacts import fingerprint, inside, shown, stages_of
from penstock.scheduler.python_models import check_models_of_code

CONFIG: Final = "config.pbtxt"

_GENERATION_BYTES: Final = 4
_MOST_STATE_BYTES: Final = 1 << 20

NO_VERSION: Final = 0
"""Stands in records for "none": a model that has an error and no version to show it at."""


def scan(*roots: Path) -> list[pb.ModelVersion]:
    """The versions that the repositories at *roots* offer, those that cannot be served as well.

    A function of the files alone. Versions that `version_policy` leaves out are not in it.

    Raises:
        InvalidConfiguration: one of *roots* is no directory, or cannot be read.
    """
    found = sorted(_folders(roots).items())
    return [version for name, folders in found for version in _of_model(name, folders)]


def names(*roots: Path) -> list[str]:
    """The models that there are at *roots*; errors as for `scan`."""
    return sorted(name for name in _folders(roots) if not _unusable(name))


def scan_model(
    roots: Sequence[Path], model: str, override: config_pb.ModelConfig | None = None
) -> list[pb.ModelVersion]:
    """As `scan`, for one model; empty when there is no such model.

    Args:
        override: the model's configuration, in place of the one that is there.
    """
    folders = _folders(roots).get(model, [])
    return list(_of_model(model, folders, override)) if folders else []


def _folders(roots: Sequence[Path]) -> dict[str, list[Path]]:
    """The directories of each model."""
    found: dict[str, list[Path]] = {}
    for root in dict.fromkeys(roots):
        try:
            for folder in root.iterdir():
                if folder.is_dir() and not folder.name.startswith("."):
                    found.setdefault(folder.name, []).append(folder)
        except OSError as error:
            raise InvalidConfiguration(
                f"the model repository {root} cannot be read: {error.strerror or error}; "
                "name a directory that holds one directory for each model"
            ) from error
    return found


def _of_model(
    name: str, folders: Sequence[Path], override: config_pb.ModelConfig | None = None
) -> Iterator[pb.ModelVersion]:
    if len(folders) == 1:
        yield from _versions(folders[0].parent.resolve(strict=True), folders[0], override)
        return
    where = " and ".join(str(folder.parent) for folder in folders)
    several = InvalidConfiguration(
        f"model '{name}' is in several repositories, {where}: keep one of them"
    )
    yield _broken(name, NO_VERSION, several)


def find(root: Path, model: str, version: int) -> pb.ModelVersion:
    """The record of one version, whether or not `version_policy` asks for it.

    Raises:
        PenstockError: it is not there, or cannot be served; says what to do.
    """
    folder = root / model
    if not folder.is_dir():
        raise ArtifactUnusable(f"the model repository {root} has no model '{model}'")
    base = root.resolve(strict=True)
    return _version(base, folder, version, *_configuration(base, folder))


def _versions(
    base: Path, folder: Path, override: config_pb.ModelConfig | None = None
) -> Iterator[pb.ModelVersion]:
    """The records of one model; its name is that of *folder*."""
    name = folder.name.encode("utf-8", "backslashreplace").decode()
    numbers: list[int] = []
    try:
        if _unusable(folder.name):
            raise InvalidConfiguration(f"'{name}' cannot name a model: rename the directory")
        numbers = _version_numbers(folder)
        config, labels = _configuration(base, folder, override)
        wanted = _wanted(numbers, config, folder)
    except (PenstockError, OSError) as error:
        for number in numbers or [NO_VERSION]:
            yield _broken(name, number, error)
        return
    for number in wanted:
        try:
            yield _version(base, folder, number, config, labels)
        except (PenstockError, OSError) as error:
            yield _broken(name, number, error, config)


def _unusable(name: str) -> bool:
    printable = name.encode("utf-8", "backslashreplace").decode()
    return printable != name or any(character.isspace() for character in name)


def _version_numbers(folder: Path) -> list[int]:
    # As in Triton, only plain positive numbers are versions; anything else is the owner's.
    names = (entry.name for entry in folder.iterdir() if entry.is_dir())
    return sorted(
        int(name)
        for name in names
        if name.isascii() and name.isdigit() and not name.startswith("0") and int(name) < 1 << 63
    )


def _configuration(
    base: Path, folder: Path, override: config_pb.ModelConfig | None = None
) -> tuple[config_pb.ModelConfig, dict[str, pb.Labels]]:
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


def _samples(base: Path, folder: Path, config: config_pb.ModelConfig) -> str:
    """Changes with the content of the files that `model_warmup` reads; empty without any."""
    paths = [folder / warmup.FOLDER / file for file in warmup.files(config)]
    for path in paths:
        if not path.is_file():
            raise InvalidConfiguration(
                f"{folder.name}/{CONFIG}: model_warmup reads '{path.relative_to(folder)}', which "
                "is not in the model's directory: put it there, or correct input_data_file"
            )
        inside(base, path)
    return fingerprint(paths) if paths else ""


def _initial_states(base: Path, folder: Path, config: config_pb.ModelConfig) -> dict[str, bytes]:
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
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InvalidConfiguration(f"{shown(path)} is not UTF-8 text: {error}") from None


def _wanted(numbers: list[int], config: config_pb.ModelConfig, folder: Path) -> Iterable[int]:
    policy = config.version_policy
    choice = policy.WhichOneof("policy_choice")
    if choice == "specific":
        return sorted(set(policy.specific.versions))
    if not numbers and config.platform == ensembles.PLATFORM:
        raise InvalidConfiguration(
            f"ensemble '{folder.name}' has no version: add a directory {folder.name}/1 (with any "
            "file in it, where empty directories get lost)"
        )
    if not numbers:
        raise InvalidConfiguration(
            f"model '{folder.name}' has no version: put its artifact into "
            f"{folder.name}/1/model.onnx or {folder.name}/1/model.pt2"
        )
    if choice == "all":
        return numbers
    # Triton's default is the latest one.
    return numbers[-(policy.latest.num_versions or 1) :]


def _version(
    base: Path,
    folder: Path,
    number: int,
    config: config_pb.ModelConfig,
    labels: dict[str, pb.Labels],
) -> pb.ModelVersion:
    where = folder / str(number)
    if not where.is_dir():
        raise ArtifactUnusable(
            f"version {number} of '{folder.name}' is asked for, but {folder.name}/{number} is not "
            "there: add it, or correct version_policy"
        )
    ensemble = config.platform == ensembles.PLATFORM
    stages = [] if ensemble else stages_of(base, where, config)
    runtimes, source = [stage.runtime for stage in stages], f"{folder.name}/{CONFIG}"
    model_config.check_runtimes(config, runtimes, source)
    check_models_of_code(config, runtimes, source)
    samples = _samples(base, folder, config)
    for stage in stages:
        stage.fingerprint = _digest(f"{stage.fingerprint}{samples}".encode() + _for_workers(config))
    instances = model_config.instances(config)
    # Code that computes on a GPU says so; a tokenizer must not take up one.
    default_kind = "cpu" if config.backend == model_config.PYTHON else ""
    version = pb.ModelVersion(
        model=folder.name,
        version=number,
        config=config.SerializeToString(deterministic=True),
        stages=stages,
        replicas=instances.replicas,
        device_kind=instances.device_kind or default_kind,
        labels=labels,
        initial_states=_initial_states(base, folder, config),
    )
    version.fingerprint = _digest(version.SerializeToString(deterministic=True))
    parts = [stage.fingerprint for stage in stages]
    version.generation = generation_of(parts or [_digest(_for_workers(config))])
    return version


def generation_of(parts: Iterable[str]) -> str:
    """A short name for a content, from the fingerprints of what is in it."""
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=_GENERATION_BYTES).hexdigest()


def _for_workers(config: config_pb.ModelConfig) -> bytes:
    """What a worker does otherwise when it changes: the worker is then started anew."""
    part = config_pb.ModelConfig()
    part.CopyFrom(config)
    part.ClearField("version_policy")
    part.ClearField("instance_group")
    part.ClearField("metric_tags")
    for output in part.output:
        output.ClearField("label_filename")
    return part.SerializeToString(deterministic=True)


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _broken(
    name: str, number: int, error: Exception, config: config_pb.ModelConfig | None = None
) -> pb.ModelVersion:
    content = b"" if config is None else config.SerializeToString(deterministic=True)
    text = str(error).encode("utf-8", "backslashreplace").decode()
    return pb.ModelVersion(model=name, version=number, config=content, error=text)
