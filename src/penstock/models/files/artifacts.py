"""Artifacts: the files of one model version, in pipeline order, known by their content.

A fingerprint depends on what the files hold and not on when they were written, so that copies of
one repository on several machines agree, and touching a file restarts nothing.
"""

import hashlib
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from penstock.errors import ArtifactUnusable
from penstock.models.config.model_config import (
    BACKEND_RUNTIMES,
    LANGUAGE,
    PLATFORM_RUNTIMES,
    PYTHON,
)
from penstock.models.files.file_hashes import WHOLE, HashOf, whole_hash
from penstock.models.files.uploaded_files import LONGEST_NAME
from penstock.protos import cluster_pb2 as pb
from penstock.protos import model_config_pb2 as config_pb

RUNTIMES: Final = {".onnx": "onnxruntime", ".pt2": "pytorch"}
"""Suffix of an artifact -> the runtime that it is for."""

PYTHON_FILE: Final = "model.py"
"""The artifact of a Python model, unless `default_model_filename` names another."""

DESCRIPTION: Final = "penstock.json"
"""Beside the shards: names and datatypes of their tensors, where the artifacts lack them."""

_SHARD = re.compile(r"shard-\d+\.\w+")


class StageFiles(NamedTuple):
    """A stage as it lies in a repository.

    Attributes:
        artifact: the file that is loaded.
        files: it, and all that belongs to it; they make its fingerprint.
        below: what the names of *files* are taken from; None for their last parts.
    """

    artifact: Path
    files: list[Path]
    runtime: str
    below: Path | None = None


def stages_of(
    base: Path, where: Path, config: config_pb.ModelConfig, hash_of: HashOf = whole_hash
) -> list[pb.Stage]:
    """The stages of the version whose directory is *where*; arguments as for `stage_files`.

    Raises:
        ArtifactUnusable: see `stage_files`; or what *hash_of* raises.
    """
    return [
        pb.Stage(
            index=index,
            artifact="/".join((*where.parts[-2:], found.artifact.name)),
            artifact_bytes=sum(file.stat().st_size for file in found.files),
            fingerprint=fingerprint(found.files, found.below, hash_of),
            runtime=found.runtime,
        )
        for index, found in enumerate(stage_files(base, where, config))
    ]


def stage_files(base: Path, where: Path, config: config_pb.ModelConfig) -> list[StageFiles]:
    """The files of each stage of the version whose directory is *where*.

    Args:
        base: the repository, resolved: all files must really be inside.

    Raises:
        ArtifactUnusable: missing, empty, ambiguous, with a gap, or outside; says what to do.
    """
    if config.backend == PYTHON:
        return [_python_files(base, where, config)]
    if config.backend == LANGUAGE:
        return _language_files(base, where, config)
    files = sorted(f for f in where.iterdir() if not f.name.startswith("."))
    artifacts = _artifacts(where, files, config)
    for artifact in artifacts:
        _check(base, artifact)
    found: list[StageFiles] = []
    for artifact in artifacts:
        parts = [artifact, *_companions(artifact, files, alone=len(artifacts) == 1)]
        for part in parts:
            inside(base, part)
        found.append(StageFiles(artifact, parts, RUNTIMES[artifact.suffix]))
    return found


def fingerprint(files: list[Path], below: Path | None = None, hash_of: HashOf = whole_hash) -> str:
    """Changes when the name or the content of one of *files* does.

    It begins with `WHOLE` where a release that takes samples of large files has another.

    Args:
        below: names are paths below this directory; plain file names without it.
    """
    digest, whole = hashlib.blake2b(digest_size=16), False
    for file in files:
        content = hash_of(file)
        whole = whole or content.startswith(WHOLE)
        name = file.name if below is None else file.relative_to(below).as_posix()
        digest.update(f"{name}\0{file.stat().st_size}\0{content}\0".encode())
    return (WHOLE if whole else "") + digest.hexdigest()


def inside(base: Path, path: Path) -> None:
    """Refuse a *path* that leads out of the repository.

    Raises:
        ArtifactUnusable: it, or a link on the way, points outside *base*, or to nothing.
    """
    name = shown(path)
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise ArtifactUnusable(f"{name} is a link that leads nowhere: {path.readlink()}") from error
    if not target.is_relative_to(base):
        raise ArtifactUnusable(
            f"{name} leads out of the repository, to {target}: put the file itself there"
        )


def shown(path: Path) -> str:
    """The last parts of *path*, as people name files of a repository."""
    deep = path.suffix in RUNTIMES or path.suffix == ".py"
    return "/".join(path.parts[-3:] if deep else path.parts[-2:])


def _artifacts(where: Path, files: list[Path], config: config_pb.ModelConfig) -> list[Path]:
    name = "/".join(where.parts[-2:])
    if config.default_model_filename:
        return [_default_file(where, config.default_model_filename)]
    shards = [f for f in files if _SHARD.fullmatch(f.name) and f.suffix in RUNTIMES]
    whole = _of_wanted_runtime(
        [f for f in files if f.stem == "model" and f.suffix in RUNTIMES], config
    )
    if shards and whole:
        raise ArtifactUnusable(
            f"{name} holds both {whole[0].name} and {shards[0].name}: keep the whole model or its "
            "shards"
        )
    if shards:
        return _in_order(name, shards)
    if len(whole) > 1:
        raise ArtifactUnusable(
            f"{name} holds both {whole[0].name} and {whole[1].name}: keep one, or say which with "
            "default_model_filename"
        )
    if not whole:
        there = ", ".join(file.name for file in files) or "nothing"
        if any(file.name == PYTHON_FILE for file in files):
            there += '; a Python model needs a config.pbtxt that says backend: "python"'
        raise ArtifactUnusable(
            f"{name} must hold model.onnx, model.pt2 or shard-0.onnx, shard-1.pt2 ...; "
            f"it holds {there}"
        )
    return whole


def _python_files(base: Path, where: Path, config: config_pb.ModelConfig) -> StageFiles:
    """A Python model: its file, and all that lies beside it, which it may import or read."""
    artifact = _default_file(where, config.default_model_filename or PYTHON_FILE, (".py",))
    _check(base, artifact)
    files = list(_all_below(where))
    for file in files:
        inside(base, file)
    return StageFiles(artifact, files, PYTHON, where)


def _language_files(base: Path, where: Path, config: config_pb.ModelConfig) -> list[StageFiles]:
    """The stages of a language model, each with its own files and the texts beside them."""
    files = sorted(f for f in where.iterdir() if not f.name.startswith(".") and f.is_file())
    artifacts = _artifacts(where, files, config)
    for file in files:
        _check(base, file)
    owner = {file: one for one in artifacts for file in (one, *_belonging(one, files))}
    return [
        StageFiles(artifact, [f for f in files if owner.get(f, artifact) == artifact], LANGUAGE)
        for artifact in artifacts
    ]


def _all_below(folder: Path) -> Iterator[Path]:
    """All files at any depth, in order, but hidden ones and compiled Python."""
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith(".") or entry.name == "__pycache__":
            continue
        if not entry.is_dir():
            yield entry
        elif entry.is_symlink():
            raise ArtifactUnusable(
                f"{shown(entry)} is a link to a directory: put the directory itself there"
            )
        else:
            yield from _all_below(entry)


def _default_file(where: Path, filename: str, suffixes: Collection[str] = RUNTIMES) -> Path:
    if Path(filename).name != filename or len(filename.encode()) > LONGEST_NAME:
        raise ArtifactUnusable(f"default_model_filename '{filename}' must be a plain file name")
    if Path(filename).suffix not in suffixes:
        raise ArtifactUnusable(
            f"default_model_filename '{filename}' must end in {' or '.join(suffixes)}"
        )
    if not (where / filename).exists():
        why = "the Python model" if filename == PYTHON_FILE else "the default_model_filename"
        raise ArtifactUnusable(f"{'/'.join(where.parts[-2:])}/{filename}, {why}, is not there")
    return where / filename


def _of_wanted_runtime(files: list[Path], config: config_pb.ModelConfig) -> list[Path]:
    wanted = PLATFORM_RUNTIMES.get(config.platform) or BACKEND_RUNTIMES.get(config.backend)
    chosen = [file for file in files if RUNTIMES[file.suffix] == wanted]
    return chosen or files


def _in_order(name: str, shards: list[Path]) -> list[Path]:
    by_index: dict[int, Path] = {}
    for shard in shards:
        index = int(shard.stem.removeprefix("shard-"))
        if index in by_index:
            raise ArtifactUnusable(
                f"{name} holds both {by_index[index].name} and {shard.name}: keep one of them"
            )
        by_index[index] = shard
    missing = next((i for i in range(len(by_index)) if i not in by_index), None)
    if missing is not None:
        raise ArtifactUnusable(
            f"{name} has {len(by_index)} shards, up to shard-{max(by_index)}, but shard-{missing} "
            "is missing: shards are numbered from 0 without gaps"
        )
    return [by_index[index] for index in sorted(by_index)]


def _companions(artifact: Path, files: list[Path], *, alone: bool) -> list[Path]:
    """Files that belong to the artifact: external weights, and the description."""
    others = [f for f in files if f != artifact and f.suffix not in RUNTIMES and f.is_file()]
    if alone:
        return others
    return [f for f in others if f.name == DESCRIPTION or f in _belonging(artifact, others)]


def _belonging(artifact: Path, files: list[Path]) -> list[Path]:
    """Those of *files* that are called after the artifact."""
    starts = (f"{artifact.stem}.", f"{artifact.stem}_")
    return [f for f in files if f != artifact and f.name.startswith(starts)]


def _check(base: Path, artifact: Path) -> None:
    inside(base, artifact)
    if not artifact.is_file():
        raise ArtifactUnusable(f"{shown(artifact)} is not a file")
    if artifact.stat().st_size == 0:
        raise ArtifactUnusable(f"{shown(artifact)} is empty: copy or export it again")
