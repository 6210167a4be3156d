"""Verifies files: a worker loads what the scheduler wants, or waits until this machine has it.

Every node has a copy of the repository, or a mount of it, and a copy may lag. So a worker hashes
what it is about to load; and looks once more afterwards, since the files may have been replaced
while they were loaded.
"""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from penstock.clock import monotonic
from penstock.errors import ArtifactUnusable, InvalidConfiguration, PenstockError
from penstock.models.files.file_hashes import WHOLE, FileHashes, Stand
from penstock.models.files.repository import files_of, fingerprint_of
from penstock.protos import cluster_pb2 as pb
from penstock.workers.liveness.heartbeat import Heartbeat

log = structlog.get_logger()

PATIENCE_S: Final = 15.0
"""A copy may lag by this much without anybody being told that the worker has failed."""

_LOOK_EVERY_S: Final = 1.0


class OtherContent(ArtifactUnusable):
    """This machine's copy is not the content that is wanted."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A stage's files on this machine, as they were when they were what is wanted.

    Attributes:
        base: the repository that they are in, resolved.
    """

    base: Path
    artifact: Path
    stands: Mapping[Path, Stand]

    def check_unchanged(self) -> None:
        """Refuse what was loaded from files that have been touched since.

        Raises:
            OtherContent: they have.
        """
        for file, stand in self.stands.items():
            with contextlib.suppress(OSError):
                if Stand.of(file) == stand:
                    continue
            raise OtherContent(
                f"{file.relative_to(self.base)} was replaced while it was loaded: it is loaded "
                "again; where that goes on, put files in place whole (write them beside, and "
                "rename them)"
            )


async def wait_for_copy(
    roots: Sequence[Path], version: pb.ModelVersion, stage: pb.Stage, heartbeat: Heartbeat
) -> Copy:
    """The files of *stage*, once this machine has those that are wanted.

    Until then the worker's record says what is the matter; after `PATIENCE_S`, that it has failed.
    """
    hashes, began_s = FileHashes(), monotonic()
    hashes.sampled = not stage.fingerprint.startswith(WHOLE)
    try:
        while True:
            try:
                return await asyncio.to_thread(find_copy, roots, version, stage, hashes)
            except (ArtifactUnusable, InvalidConfiguration) as error:
                heartbeat.has_started()
                await _report(heartbeat, str(error), late=monotonic() - began_s > PATIENCE_S)
            await asyncio.sleep(_LOOK_EVERY_S)
    finally:
        hashes.close()


def find_copy(
    roots: Sequence[Path], version: pb.ModelVersion, stage: pb.Stage, hashes: FileHashes
) -> Copy:
    """The files of *stage* in that of the repositories *roots* which has them.

    Links are followed as they lead at this moment.

    Raises:
        ArtifactUnusable, InvalidConfiguration: they are missing, or others than are wanted.
    """
    base = _base_of(roots, stage)
    artifact = base / stage.artifact
    try:
        stands = {file: Stand.of(file) for file in files_of(base, version, stage.index)}
        found = fingerprint_of(base, version, stage.index, hashes.of)
    except OSError as error:
        raise ArtifactUnusable(
            f"{stage.artifact} cannot be read in {base}: {error.strerror or error}"
        ) from error
    if found != stage.fingerprint:
        raise OtherContent(
            f"{stage.artifact} in {base} on this machine, or a file that belongs to it, is not "
            "what the scheduler has published: bring this machine's copy of the repository up to "
            "date; it is looked at again every second"
        )
    return Copy(base, artifact, stands)


def _base_of(roots: Sequence[Path], stage: pb.Stage) -> Path:
    for root in roots:
        if (root / stage.artifact).exists():
            return root.resolve()
    where = " or ".join(map(str, roots))
    raise ArtifactUnusable(
        f"{stage.artifact} is missing in {where} on this machine: bring this machine's copy of the "
        "repository up to date; it is looked at again every second"
    )


async def _report(heartbeat: Heartbeat, reason: str, *, late: bool) -> None:
    state = pb.WORKER_STATE_FAILED if late else pb.WORKER_STATE_LOADING
    if (heartbeat.record.state, heartbeat.record.reason) == (state, reason):
        return
    log.warning("waiting for the files", reason=reason)
    with contextlib.suppress(PenstockError):
        await heartbeat.become(state, reason=reason)
