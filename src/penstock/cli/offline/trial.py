"""A trial: what a cluster would make of a repository's versions, on this machine's CPU.

Each artifact is loaded as a worker loads it, tried on rows together and apart where its owner does
not say whether requests may share a run, and let go of again; the configuration is held against
what it turned out to be, and ensembles against the models that they are made of.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from penstock.errors import InvalidConfiguration, PenstockError
from penstock.models.completion import Deployment, complete
from penstock.models.config import warmup
from penstock.models.config.ensembles import is_ensemble, users
from penstock.models.config.model_config import PYTHON
from penstock.process import machine
from penstock.protos import cluster_pb2 as pb
from penstock.protos import model_config_pb2 as config_pb
from penstock.scheduler.decisions.composing import Composer, Revision
from penstock.scheduler.decisions.readiness import VersionState
from penstock.scheduler.registry.snapshot import Snapshot, VersionId
from penstock.workers.loading.batch_proof import needs_proof, prove
from penstock.workers.loading.warming import read_samples
from penstock.workers.runtimes.opening import open_runtime
from penstock.workers.runtimes.runtime import DeviceRef

_NOT_RUN: Final = "its code was not run"


class NotTried(PenstockError):
    """It is Python code, or made of models that are, and may not be run here."""


class Trial(NamedTuple):
    """What was seen.

    Attributes:
        problems: what keeps versions from being served; those that can be are not in it.
        batching: of versions that can be, whether their requests share runs, and why.
    """

    problems: dict[VersionId, PenstockError]
    batching: dict[VersionId, str]


def try_versions(
    roots: Sequence[Path],
    versions: Sequence[pb.ModelVersion],
    *,
    python_models: bool,
    about: Callable[[str], None],
) -> Trial:
    """Load *versions* and complete them.

    Args:
        roots: the repositories that they are in.
        versions: those that the repository's files are good for.
        python_models: Python models may be run.
        about: told what is being loaded.
    """
    found: dict[VersionId, PenstockError] = {}
    revisions: dict[VersionId, Revision] = {}
    batching: dict[VersionId, str] = {}
    untried: set[str] = set()
    for version in versions:
        if is_ensemble(version):
            continue
        id_ = VersionId(version.model, version.version)
        about(f"loading {id_.model} version {id_.version}")
        try:
            deployment = _load(roots, version, python_models=python_models)
            state = VersionState("READY", "", accepting=True, deployment=deployment)
            batching[id_] = deployment.batching
        except NotTried as error:
            untried.add(version.model)
            found[id_] = error
            continue
        except PenstockError as error:
            state = VersionState("UNAVAILABLE", str(error), accepting=False, deployment=None)
            found[id_] = error
        revisions[id_] = Revision(state, version)
    return Trial(found | _composed(versions, revisions, untried), batching)


def _load(roots: Sequence[Path], version: pb.ModelVersion, *, python_models: bool) -> Deployment:
    if not python_models and any(stage.runtime == PYTHON for stage in version.stages):
        raise NotTried(_NOT_RUN)
    config = config_pb.ModelConfig.FromString(version.config)
    device = DeviceRef("cpu", 0, machine.cores())
    # No model is in two of them.
    root = next(root for root in roots if (root / version.model).is_dir())
    signatures: list[pb.Signature] = []
    proofs: list[pb.BatchProof | None] = []
    for stage in version.stages:
        runtime = open_runtime(root / stage.artifact, stage.runtime, device, version, config)
        signatures.append(runtime.signature)
        wanted = needs_proof(config, stage.runtime)
        proofs.append(prove(runtime, device.kind) if wanted else None)
        runtime.close()
    read_samples(config, root / version.model / warmup.FOLDER)
    return complete(version, signatures, proofs)


def _composed(
    versions: Sequence[pb.ModelVersion], revisions: dict[VersionId, Revision], untried: set[str]
) -> dict[VersionId, PenstockError]:
    """The same of the ensembles among *versions*, whose other models' states are *revisions*."""
    ensembles = {VersionId(one.model, one.version): one for one in versions if is_ensemble(one)}
    users_of = users(versions)
    waiting = {name for model in untried for name in users_of.get(model, ())}
    composer = Composer(_registry(ensembles), revisions)
    found: dict[VersionId, PenstockError] = {}
    for id_, version in ensembles.items():
        if version.model in waiting:
            found[id_] = NotTried("a model that it is made of was not tried")
        elif reason := composer.state_of(version).reason:
            found[id_] = InvalidConfiguration(reason)
    return found


def _registry(versions: dict[VersionId, pb.ModelVersion]) -> Snapshot:
    """What the registry of a cluster would hold that knows *versions* and nothing else."""
    return Snapshot(
        now_ms=0,
        revision=0,
        change_id="",
        versions=versions,
        placements=(),
        nodes={},
        workers={},
        gateways={},
        schedulers={},
        signatures={},
        live=frozenset(),
    )
