"""The batch dimension that an owner's configuration leaves open: assumed where it is proved.

A model whose configuration gives no `max_batch_size` is batched if rows run together equal rows run
apart, which the worker of each stage tries when it loads its artifact (workers/loading); a pipeline
is batched if each of its stages may be. What nobody proved is not assumed: requests then have all
of the artifact's dimensions and run one at a time. Pure.

An owner who lists dims without the first one says that it is a batch's. Then, without a proof,
requests have a batch dimension, but do not share runs.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from penstock.models.config.reshape import ConfigTensor, artifact_dims
from penstock.protos import cluster_pb2 as pb
from penstock.protos import model_config_pb2 as config_pb

DEFAULT_MAX_BATCH: Final = 64
"""Triton's default is 4, set by a server option; one number that suits small and large models alike
is not to be had, and rows cost memory only when they come."""

FIRST_MAX_BATCH: Final = 8
"""Rows of different requests that share a run until more of them have shown to pay."""

BatchProofs = Sequence[pb.BatchProof | None]
"""Of each stage's artifact; None where nobody tried it."""

_UNTRIED: Final = "no worker has tried whether its rows may run together"


def guess(
    config: config_pb.ModelConfig, tensors: Iterable[pb.TensorSpec], proofs: BatchProofs
) -> str:
    """Complete *config*, which has no `max_batch_size`; returns what was done, and why.

    Args:
        tensors: all that must have the batch dimension, with full shapes.
    """
    specs = {spec.name: spec for spec in tensors}
    listed = _listed_beside_rank(config, specs)
    if any(beside == 0 for beside in listed.values()):
        return alone("config.pbtxt lists all dimensions and no max_batch_size")
    closed = next((name for name, spec in specs.items() if not is_open(spec)), None)
    if closed is not None:
        return alone(f"the first dimension of '{closed}' is not of any size")
    objection = _objection(proofs)
    if not objection:
        config.max_batch_size = DEFAULT_MAX_BATCH
        if not config.HasField("sequence_batching"):
            config.dynamic_batching.SetInParent()
        return f"batches up to {DEFAULT_MAX_BATCH}: {next(p.why for p in proofs if p)}"
    if any(beside == -1 for beside in listed.values()):
        return _by_the_listed_dims(config, objection)
    return alone(objection)


def stated(config: config_pb.ModelConfig) -> str:
    """What the owner's own *config* makes of batching."""
    most = config.max_batch_size
    if config.HasField("dynamic_batching") or config.HasField("sequence_batching"):
        return f"batches up to {most}: config.pbtxt says so"
    return f"runs requests of up to {most} rows one at a time: config.pbtxt has no dynamic_batching"


def alone(why: str) -> str:
    """What is said of a model that runs its requests one by one."""
    return f"runs requests one at a time: {why}"


def is_open(spec: pb.TensorSpec) -> bool:
    """Whether the first dimension may be a batch's."""
    return bool(spec.shape) and spec.shape[0] == -1


def _by_the_listed_dims(config: config_pb.ModelConfig, objection: str) -> str:
    if config.HasField("sequence_batching"):
        # Sequences share runs as far as there is room for them.
        config.max_batch_size = 1
        return alone(objection)
    config.max_batch_size = DEFAULT_MAX_BATCH
    if config.HasField("dynamic_batching"):
        return stated(config)
    return f"runs requests of up to {DEFAULT_MAX_BATCH} rows one at a time: {objection}"


def _objection(proofs: BatchProofs) -> str:
    for index, proof in enumerate(proofs):
        if proof is None or not proof.proved:
            where = f"stage {index}: " if len(proofs) > 1 else ""
            return where + (_UNTRIED if proof is None else proof.why)
    return "" if proofs else _UNTRIED


def _listed_beside_rank(
    config: config_pb.ModelConfig, specs: Mapping[str, pb.TensorSpec]
) -> dict[str, int]:
    """Of each listed tensor, how many dims it has more than the artifact's."""
    tensors: list[ConfigTensor] = [*config.input, *config.output]
    return {
        tensor.name: len(artifact_dims(tensor)) - len(specs[tensor.name].shape)
        for tensor in tensors
        if tensor.name in specs
    }
