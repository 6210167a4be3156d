"""Ranks: how many dimensions outputs have that may have any number, seen in a run."""

from collections.abc import Iterator, Mapping

import structlog

from penstock.models.config.reshape import artifact_dims
from penstock.protos import cluster_pb2 as pb
from penstock.protos.model_config_pb2 import ModelConfig
from penstock.tensors import Array
from penstock.workers.run.made_up import made_up
from penstock.workers.runtimes.runtime import Runtime

log = structlog.get_logger()


def see_ranks(runtime: Runtime, config: ModelConfig) -> None:
    """Complete the signature of *runtime*; on the thread that runs it.

    Sizes stay free: what was seen is one request's, and its owner may know better. Of an output
    nothing may be seen, since the shard takes nothing made up.

    Args:
        config: its owner's, which says what inputs of any rank look like.
    """
    unknown = {spec.name: spec for spec in runtime.signature.outputs if spec.any_rank}
    if not unknown:
        return
    rows = 1 if config.max_batch_size > 0 else None
    for _, inputs in made_up(_inputs(runtime, config), rows):
        try:
            found: Mapping[str, Array] = runtime.run(inputs, list(unknown))
        except Exception as error:  # noqa: BLE001 - runtimes raise what they like
            log.debug("no rank was seen", reason=str(error))
            continue
        for name, spec in unknown.items():
            spec.shape[:] = [-1] * found[name].ndim
        return


def _inputs(runtime: Runtime, config: ModelConfig) -> Iterator[pb.TensorSpec]:
    listed = {tensor.name: artifact_dims(tensor) for tensor in config.input}
    lead = [-1] if config.max_batch_size > 0 else []
    for spec in runtime.signature.inputs:
        if spec.any_rank and spec.name in listed:
            shape = [*lead, *listed[spec.name]]
            yield pb.TensorSpec(name=spec.name, datatype=spec.datatype, shape=shape)
        else:
            yield spec
