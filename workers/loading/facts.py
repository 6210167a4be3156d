"""What a worker finds out about an artifact once it has loaded it, before it serves it."""

from penstock.models.config.model_config import PYTHON
from penstock.protos import cluster_pb2 as pb
from penstock.protos.model_config_pb2 import ModelConfig
from penstock.scheduler.registry.artifact_facts import ArtifactFacts
from penstock.workers.language.runtime import LanguageRuntime
from penstock.workers.loading.batch_proof import prove
from penstock.workers.loading.ranks import see_ranks
from penstock.workers.loading.rebuild_trial import rebuild_here
from penstock.workers.runtimes.runtime import Runtime


def tensor_facts(
    runtime: Runtime, config: ModelConfig, stage: pb.Stage, device_kind: str
) -> ArtifactFacts:
    """Of a shard; on the thread that runs it."""
    # Else its owner has said whether requests may share a run.
    is_open = config.max_batch_size == 0 and stage.runtime != PYTHON
    proof = prove(runtime, device_kind) if is_open else None
    see_ranks(runtime, config)
    return ArtifactFacts(runtime.signature, proof)


def language_facts(runtime: LanguageRuntime, kept: str | None, record: pb.Worker) -> ArtifactFacts:
    """Of a language model's stage, tried as in `rebuild_here`; *runtime* and *record* say it too.

    On the thread that runs it.
    """
    found = rebuild_here(runtime, kept)
    runtime.rebuild = found.rebuild
    record.rebuild, record.numeric_domain = found.rebuild.value, runtime.numeric_domain
    return ArtifactFacts(runtime.signature, rebuild=found.seen)
