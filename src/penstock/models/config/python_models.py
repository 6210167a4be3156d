"""What config.pbtxt must say, and must not, for models that are Python code, and decoupled ones."""

from collections.abc import Iterable
from typing import Final

from penstock.errors import InvalidConfiguration
from penstock.models.config.language_models import check_language_model, number_of
from penstock.models.config.model_config import LANGUAGE, PYTHON
from penstock.protos import model_config_pb2 as pb

CONCURRENT_REQUESTS: Final = "concurrent_requests"
"""A parameter of config.pbtxt: requests that each worker of a decoupled model answers at a time."""

_MOST_CONCURRENT: Final = 1024


def check_models_of_code(config: pb.ModelConfig, runtimes: Iterable[str], source: str) -> None:
    """Hold the configuration against what decoupled models, and language models, can do.

    Raises:
        InvalidConfiguration: the artifact of a decoupled one answers once, or it asks for answers
            in order, or for so many requests at a time that there is no such number; or see
            `check_language_model`.
    """
    check_language_model(config, source)
    if is_decoupled(config):
        _check_decoupled(config, runtimes, source)
        concurrent_requests(config, 1)


def is_decoupled(config: pb.ModelConfig) -> bool:
    """Whether a request may have any number of responses."""
    return config.model_transaction_policy.decoupled


def concurrent_requests(config: pb.ModelConfig, default: int) -> int:
    """How many requests a worker of a decoupled model may have under way at a time.

    Raises:
        InvalidConfiguration: the parameter that says so is no number from 1 to 1024.
    """
    return number_of(config, CONCURRENT_REQUESTS, default, _MOST_CONCURRENT)


def _check_decoupled(config: pb.ModelConfig, runtimes: Iterable[str], source: str) -> None:
    field = f"{source}: model_transaction_policy.decoupled"
    others = sorted(set(runtimes) - {PYTHON, LANGUAGE})
    if others:
        raise InvalidConfiguration(
            f"{field} is only for Python models, which can yield: an artifact for "
            f"{' or '.join(others)} answers each request once; remove it"
        )
    if config.dynamic_batching.preserve_ordering:
        raise InvalidConfiguration(
            f"{field} models answer as their responses come: remove "
            "dynamic_batching.preserve_ordering"
        )
