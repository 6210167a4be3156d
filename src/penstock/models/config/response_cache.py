"""Which models may have a response cache: `response_cache { enable: true }` in config.pbtxt.

The replies themselves are kept by scheduler/jobs/shared_replies.py. Pure.
"""

from collections.abc import Iterable, Iterator

from penstock.protos import cluster_pb2 as pb
from penstock.protos import model_config_pb2 as config_pb


def cache_problems(config: config_pb.ModelConfig) -> Iterator[str]:
    """Why a model's replies cannot be cached, though it asks for that."""
    if not config.response_cache.enable:
        return
    if config.HasField("sequence_batching"):
        yield (
            "response_cache cannot be enabled with sequence_batching: replies depend on what came "
            "before; remove one of them"
        )
    if config.HasField("ensemble_scheduling"):
        yield (
            "response_cache cannot be enabled for an ensemble, whose steps may be on different "
            "servers; remove it"
        )
    if config.model_transaction_policy.decoupled:
        yield (
            "response_cache cannot be enabled for a decoupled model, which answers a request any "
            "number of times; remove one of them"
        )


def allowed(versions: Iterable[pb.ModelVersion], cache_bytes: int) -> list[pb.ModelVersion]:
    """*versions*; where there is no cache, those that ask for one cannot be served."""
    return [one if cache_bytes or not _asks(one) else _refused(one) for one in versions]


def _asks(version: pb.ModelVersion) -> bool:
    config = config_pb.ModelConfig.FromString(version.config)
    return not version.error and config.response_cache.enable


def _refused(version: pb.ModelVersion) -> pb.ModelVersion:
    return pb.ModelVersion(
        model=version.model,
        version=version.version,
        config=version.config,
        error="config.pbtxt: response_cache is enabled, but this cluster has no cache: start its "
        "schedulers with --response-cache-bytes above 0, or remove response_cache",
    )
