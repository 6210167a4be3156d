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
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from penstock.errors import ArtifactUnusable, InvalidConfiguration, PenstockError
from penstock.models.config import ensembles
from penstock.models.config.model_config import PYTHON, check_runtimes, instances
from penstock.models.config.python_models import check_models_of_code
from penstock.models.files.artifacts import (
    StageFiles,
    fingerprint,
    stage_files,
    stages_of,
)
from penstock.models.files.file_hashes import WHOLE, HashOf, StillReading, whole_hash
from penstock.models.files.folders import folders_in, folders_of, resolved, unusable
from penstock.models.files.known_models import KnownModels
from penstock.models.files.model_files import (
    CONFIG,
    configuration_of,
    initial_states,
    sample_files,
)
from penstock.protos import cluster_pb2 as pb
from penstock.protos import model_config_pb2 as config_pb

_GENERATION_BYTES: Final = 4

NO_VERSION: Final = 0
"""Stands in records for "none": a model that has an error and no version to show it at."""


_MOST_LOOKS: Final = 5
"""A repository that is another one after that many looks in a row is read as it is."""


class Unread(NamedTuple):
    """A version whose files have not been read to their end."""

    model: str
    version: int
    reason: str


class Look(NamedTuple):
    """What there is in repositories."""

    versions: list[pb.ModelVersion]
    unread: list[Unread]


def scan(*roots: Path, hash_of: HashOf = whole_hash) -> list[pb.ModelVersion]:
    """The versions that the repositories at *roots* offer, those that cannot be served as well.

    A function of the files alone. Versions that `version_policy` leaves out are not in it.

    Raises:
        InvalidConfiguration: one of *roots* is no directory, or cannot be read.
    """
    return look(roots, hash_of).versions


def look(roots: Sequence[Path], hash_of: HashOf, known: KnownModels | None = None) -> Look:
    """As `scan`, with what cannot be told yet because *hash_of* is still reading.

    Args:
        known: what was read before; None to read everything.
    """

    def all_models(bases: Sequence[Path]) -> Iterator[pb.ModelVersion | Unread]:
        for name, found in sorted(folders_in(bases).items()):
            read = partial(_of_model, name, found, hash_of)
            yield from read() if known is None else known.of(found, read)

    return _looked(roots, all_models)


def names(*roots: Path) -> list[str]:
    """The models that there are at *roots*; errors as for `scan`."""
    return sorted(name for name in folders_in(resolved(roots)) if not unusable(name))


def scan_model(
    roots: Sequence[Path],
    model: str,
    override: config_pb.ModelConfig | None = None,
    hash_of: HashOf = whole_hash,
) -> list[pb.ModelVersion]:
    """As `scan`, for one model; empty when there is no such model.

    Args:
        override: the model's configuration, in place of the one that is there.

    Raises:
        StillReading: *hash_of* does.
        InvalidConfiguration: see `scan`.
    """

    def one_model(bases: Sequence[Path]) -> Iterator[pb.ModelVersion | Unread]:
        folders = folders_of(bases, model)
        if folders:
            yield from _of_model(model, folders, hash_of, override)

    found = _looked(roots, one_model)
    if found.unread:
        raise StillReading(found.unread[0].reason)
    return found.versions


def _looked(
    roots: Sequence[Path], read: Callable[[Sequence[Path]], Iterable[pb.ModelVersion | Unread]]
) -> Look:
    """What *read* finds in the directories behind *roots*, which may be links.

    Where a link was led elsewhere meanwhile, nothing is known of either directory: the old one may
    be half removed by now. It is looked at again.
    """
    for _ in range(_MOST_LOOKS):
        bases = resolved(roots)
        try:
            found = list(read(bases))
        except (InvalidConfiguration, OSError):
            if resolved(roots) == bases:
                raise
            continue
        if resolved(roots) == bases:
            break
    else:
        raise InvalidConfiguration(
            f"the model repository {' or '.join(map(str, roots))} is another directory each time "
            "that it is looked at: lead the link elsewhere only when the new directory is whole"
        )
    versions = [one for one in found if isinstance(one, pb.ModelVersion)]
    return Look(versions, [one for one in found if isinstance(one, Unread)])


def _of_model(
    name: str,
    folders: Sequence[Path],
    hash_of: HashOf,
    override: config_pb.ModelConfig | None = None,
) -> Iterator[pb.ModelVersion | Unread]:
    if len(folders) == 1:
        yield from _versions(folders[0].parent, folders[0], hash_of, override)
        return
    where = " and ".join(str(folder.parent) for folder in folders)
    several = InvalidConfiguration(
        f"model '{name}' is in several repositories, {where}: keep one of them"
    )
    yield _broken(name, NO_VERSION, several)


def _versions(
    base: Path,
    folder: Path,
    hash_of: HashOf,
    override: config_pb.ModelConfig | None = None,
) -> Iterator[pb.ModelVersion | Unread]:
    """The records of one model; its name is that of *folder*."""
    name = folder.name.encode("utf-8", "backslashreplace").decode()
    numbers: list[int] = []
    try:
        if unusable(folder.name):
            raise InvalidConfiguration(f"'{name}' cannot name a model: rename the directory")
        numbers = _version_numbers(folder)
        config, labels = configuration_of(base, folder, override)
        wanted = _wanted(numbers, config, folder)
    except (PenstockError, OSError) as error:
        for number in numbers or [NO_VERSION]:
            yield _broken(name, number, error)
        return
    for number in wanted:
        try:
            yield _version(base, folder, number, config, labels, hash_of)
        except StillReading as error:
            yield Unread(name, number, str(error))
        except (PenstockError, OSError) as error:
            yield _broken(name, number, error, config)


def _version_numbers(folder: Path) -> list[int]:
    # As in Triton, only plain positive numbers are versions; anything else is the owner's.
    names = (entry.name for entry in folder.iterdir() if entry.is_dir())
    return sorted(
        int(name)
        for name in names
        if name.isascii() and name.isdigit() and not name.startswith("0") and int(name) < 1 << 63
    )


def _wanted(numbers: list[int], config: config_pb.ModelConfig, folder: Path) -> Iterable[int]:
    policy = config.version_policy
    choice = policy.WhichOneof("policy_choice")
    if choice == "specific":
        asked = sorted(set(policy.specific.versions))
        # As in Triton, those that are there are served; only where none is, all are told of.
        return [number for number in asked if number in numbers] or asked
    if not numbers and config.platform == ensembles.PLATFORM:
        raise InvalidConfiguration(
            f"ensemble '{folder.name}' has no version: add a directory {folder.name}/1 (with any "
            "file in it, where empty directories get lost)"
        )
    if not numbers:
        name = folder.name
        to_do = f"put its artifact into {name}/1/model.onnx or {name}/1/model.pt2"
        if (folder / "0").is_dir():
            to_do = f"versions begin at 1: rename {name}/0"
        raise InvalidConfiguration(f"model '{name}' has no version: {to_do}")
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
    hash_of: HashOf,
) -> pb.ModelVersion:
    where = folder / str(number)
    if not where.is_dir():
        raise ArtifactUnusable(
            f"version {number} of '{folder.name}' is asked for, but {folder.name}/{number} is not "
            "there: add it, or correct version_policy"
        )
    ensemble = config.platform == ensembles.PLATFORM
    stages = [] if ensemble else stages_of(base, where, config, hash_of)
    runtimes, source = [stage.runtime for stage in stages], f"{folder.name}/{CONFIG}"
    check_runtimes(config, runtimes, source)
    check_models_of_code(config, runtimes, source)
    samples = sample_files(base, folder, config)
    for stage in stages:
        stage.fingerprint = _for_stage(stage.fingerprint, samples, config, hash_of)
    wanted = instances(config)
    version = pb.ModelVersion(
        model=folder.name,
        version=number,
        config=config.SerializeToString(deterministic=True),
        stages=stages,
        replicas=wanted.replicas,
        # Code that computes on a GPU says so; a tokenizer must not take up one.
        device_kind=wanted.device_kind or ("cpu" if config.backend == PYTHON else ""),
        labels=labels,
        initial_states=initial_states(base, folder, config),
    )
    version.fingerprint = _digest(version.SerializeToString(deterministic=True))
    parts = [stage.fingerprint for stage in stages]
    version.revision_id = revision_id_of(parts or [_digest(_for_workers(config))])
    return version


def files_of(base: Path, version: pb.ModelVersion, stage: int) -> list[Path]:
    """The files that a worker of a stage of *version* reads, in the repository at *base*.

    Raises:
        PenstockError, OSError: some are missing, or outside.
    """
    config = config_pb.ModelConfig.FromString(version.config)
    files = _stage_files(base, version, stage, config).files
    return [*files, *sample_files(base, base / version.model, config)]


def fingerprint_of(base: Path, version: pb.ModelVersion, stage: int, hash_of: HashOf) -> str:
    """The fingerprint that the files at *base* give a stage, with the configuration of *version*.

    Raises:
        PenstockError, OSError: see `files_of`; or what *hash_of* raises.
    """
    config = config_pb.ModelConfig.FromString(version.config)
    found = _stage_files(base, version, stage, config)
    own = fingerprint(found.files, found.below, hash_of)
    return _for_stage(own, sample_files(base, base / version.model, config), config, hash_of)


def _stage_files(
    base: Path, version: pb.ModelVersion, stage: int, config: config_pb.ModelConfig
) -> StageFiles:
    where = base / version.model / str(version.version)
    if not where.is_dir():
        raise ArtifactUnusable(f"{version.model}/{version.version} is not there")
    found = stage_files(base, where, config)
    if stage >= len(found):
        raise ArtifactUnusable(f"{version.model}/{version.version} has {len(found)} stage(s)")
    return found[stage]


def _for_stage(
    own: str, samples: list[Path], config: config_pb.ModelConfig, hash_of: HashOf
) -> str:
    """A stage's fingerprint, from that of its files, its samples and its configuration."""
    read = fingerprint(samples, hash_of=hash_of) if samples else ""
    digest = _digest(f"{own}{read}".encode() + _for_workers(config))
    return (WHOLE if own.startswith(WHOLE) or read.startswith(WHOLE) else "") + digest


def revision_id_of(parts: Iterable[str]) -> str:
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
