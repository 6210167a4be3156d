"""What config.pbtxt must say, and must not, for models that are Python code, and decoupled ones."""

from collections.abc import Iterable

from penstock.errors import InvalidConfiguration
from penstock.models.config.model_config import PYTHON
from penstock.protos import model_config_pb2 as pb


def check_models_of_code(config: pb.ModelConfig, runtimes: Iterable[str], source: str) -> None:
    """Hold the configuration against what decoupled models can do.

    Raises:
        InvalidConfiguration: the artifact of a decoupled one answers once, or it asks for answers
            in order.
    """
    if is_decoupled(config):
        _check_decoupled(config, runtimes, source)


def is_decoupled(config: pb.ModelConfig) -> bool:
    """Whether a request may have any number of responses."""
    return config.model_transaction_policy.decoupled


def _check_decoupled(config: pb.ModelConfig, runtimes: Iterable[str], source: str) -> None:
    field = f"{source}: model_transaction_policy.decoupled"
    others = sorted(set(runtimes) - {PYTHON})
    if others:
        raise InvalidConfiguration(
            f"{field} is only for Python models, which can yield: an artifact for "
            f"{' or '.join(others)} answers each request once; remove it"
        )
    batching = config.dynamic_batching
    if batching.preserve_ordering:
        raise InvalidConfiguration(
            f"{field} models answer as their responses come: remove "
            "dynamic_batching.preserve_ordering"
        )
