"""A trial: what a cluster would make of a repository's versions, on this machine's CPU.

Each artifact is loaded as a worker loads it, tried on rows together and apart where its owner does
not say whether requests may share a run, warmed up, and let go of again; the configuration is held
against what it turned out to be, and ensembles against the models that they are made of.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

from penstock.errors import InvalidConfiguration, PenstockError
from penstock.models.batch_guess import alone
from penstock.models.completion import Deployment, complete
from penstock.models.config import warmup
from penstock.models.config.dataflow import shown
from penstock.models.config.ensembles import is_ensemble, users
from penstock.models.config.language_models import is_language_model, slots
from penstock.models.config.model_config import PYTHON
from penstock.process import machine
from penstock.protos import cluster_pb2 as pb
from penstock.protos import model_config_pb2 as config_pb
from penstock.scheduler.decisions.composing import Composer
from penstock.scheduler.decisions.readiness import Routing, VersionState
from penstock.scheduler.registry.snapshot import VersionId, empty_snapshot
from penstock.workers.app import execution_of
from penstock.workers.language.runtime import LanguageRuntime
from penstock.workers.loading.facts import tensor_facts
from penstock.workers.loading.warming import Warmed, read_samples, warm_up
from penstock.workers.runtimes.opening import open_runtime
from penstock.workers.runtimes.runtime import DeviceRef, Runtime

_NOT_RUN: Final = "its code was not run"
_CPU: Final = DeviceRef("cpu", 0, machine.cores())


class NotTried(PenstockError):
    """It is Python code, or made of models that are, and may not be run here."""


class Seen(NamedTuple):
    """What a cluster would make of a version that it can serve.

    Attributes:
        batching: whether its requests share runs, and why.
        completed: what its configuration leaves to the artifacts; "" if nothing.
        warmed: what its shards ran on; "" if they were not run.
        refused: why they did not run on what was made up; "" if they did.
    """

    batching: str
    completed: str = ""
    warmed: str = ""
    refused: str = ""


def try_versions(
    roots: Sequence[Path],
    versions: Sequence[pb.ModelVersion],
    *,
    python_models: bool,
    about: Callable[[str], None],
) -> dict[VersionId, Seen | PenstockError]:
    """Load *versions* and complete them; what was seen, or what keeps one from being served.

    Args:
        roots: the repositories that they are in.
        versions: those that the repository's files are good for.
        python_models: Python models may be run.
        about: told what is being loaded.
    """
    found: dict[VersionId, Seen | PenstockError] = {}
    revisions: dict[VersionId, Routing] = {}
    untried: set[str] = set()
    for version in versions:
        if is_ensemble(version):
            continue
        id_ = VersionId(version.model, version.version)
        about(f"loading {id_.model} version {id_.version}")
        try:
            deployment, found[id_] = _load(roots, version, python_models=python_models)
            state = VersionState("READY", "", accepting=True, deployment=deployment)
        except NotTried as error:
            untried.add(version.model)
            found[id_] = error
            continue
        except PenstockError as error:
            state = VersionState("UNAVAILABLE", str(error))
            found[id_] = error
        revisions[id_] = Routing(state, version)
    return found | _composed(versions, revisions, untried)


def _load(
    roots: Sequence[Path], version: pb.ModelVersion, *, python_models: bool
) -> tuple[Deployment, Seen]:
    if not python_models and any(stage.runtime == PYTHON for stage in version.stages):
        raise NotTried(_NOT_RUN)
    config = config_pb.ModelConfig.FromString(version.config)
    # No model is in two of them.
    root = next(root for root in roots if (root / version.model).is_dir())
    if is_language_model(config):
        return _load_language(root, version, config)
    with contextlib.closing(_Shards(root, version, config)) as shards:
        facts = [
            tensor_facts(runtime, config, stage, _CPU.kind) for stage, runtime in shards.each()
        ]
        signatures, proofs = [one.signature for one in facts], [one.proof for one in facts]
        deployment = complete(version, signatures, proofs)
        samples = read_samples(config, root / version.model / warmup.FOLDER)
        warmed = [
            warm_up(execution_of(runtime, deployment, stage), deployment, stage, samples)
            for stage, runtime in shards.each()
        ]
    return deployment, _seen(config, deployment, warmed)


def _load_language(
    root: Path, version: pb.ModelVersion, config: config_pb.ModelConfig
) -> tuple[Deployment, Seen]:
    # One at a time: all of them may be too large together.
    signatures = [
        LanguageRuntime.open(root / stage.artifact, config, _CPU).signature
        for stage in version.stages
    ]
    deployment = complete(version, signatures)
    batching = f"{slots(config)} answers share each step"
    return deployment, Seen(batching, warmed="tokens of its own vocabulary")


class _Shards:
    """The shards of a version, one loaded at a time: all of them may be too large together."""

    def __init__(self, root: Path, version: pb.ModelVersion, config: config_pb.ModelConfig) -> None:
        self._root, self._version, self._config = root, version, config
        self._loaded: tuple[int, Runtime] | None = None

    def each(self) -> Iterator[tuple[pb.Stage, Runtime]]:
        """Each stage; the only one is loaded once, however often it is asked for."""
        for stage in self._version.stages:
            if self._loaded is None or self._loaded[0] != stage.index:
                self.close()
                artifact = self._root / stage.artifact
                self._loaded = (
                    stage.index,
                    open_runtime(artifact, stage.runtime, _CPU, self._version, self._config),
                )
            yield stage, self._loaded[1]

    def close(self) -> None:
        """Let go of what is loaded."""
        if self._loaded is not None:
            self._loaded[1].close()
            self._loaded = None


def _seen(config: config_pb.ModelConfig, deployment: Deployment, warmed: Sequence[Warmed]) -> Seen:
    lost = next((one.unsplittable for one in warmed if one.unsplittable), "")
    return Seen(
        alone(lost) if lost else deployment.batching,
        _completed(config, deployment),
        ", then ".join(dict.fromkeys(one.on for one in warmed if one.on)),
        next((one.refused for one in warmed if one.refused), ""),
    )


def _completed(config: config_pb.ModelConfig, deployment: Deployment) -> str:
    """What *config*, the owner's, leaves open of the model's tensors."""
    kinds = []
    if not config.input and deployment.inputs:
        kinds.append(f"inputs {_listed(deployment.inputs)}")
    if not config.output and deployment.outputs:
        kinds.append(f"outputs {_listed(deployment.outputs)}")
    return " and ".join(kinds)


def _listed(specs: Iterable[pb.TensorSpec]) -> str:
    return ", ".join(f"{spec.name} {shown(spec)}" for spec in specs)


def _composed(
    versions: Sequence[pb.ModelVersion], revisions: dict[VersionId, Routing], untried: set[str]
) -> dict[VersionId, Seen | PenstockError]:
    """The same of the ensembles among *versions*, whose other models' states are *revisions*."""
    ensembles = {VersionId(one.model, one.version): one for one in versions if is_ensemble(one)}
    users_of = users(versions)
    waiting = {name for model in untried for name in users_of.get(model, ())}
    composer = Composer(replace(empty_snapshot(), versions=ensembles), revisions)
    found: dict[VersionId, Seen | PenstockError] = {}
    for id_, version in ensembles.items():
        if version.model in waiting:
            found[id_] = NotTried("a model that it is made of was not tried")
        elif reason := composer.state_of(version).reason:
            found[id_] = InvalidConfiguration(reason)
    return found
