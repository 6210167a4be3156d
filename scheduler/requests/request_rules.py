"""What requests to one version of a model must be, read from its configuration once. Pure.

`penstock.scheduler.requests.checks` holds each request against it.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from penstock.datatypes import ITEM_BYTES
from penstock.models.config.policies import QueuePolicy, by_level, default_policy
from penstock.protos.cluster_pb2 import TensorSpec
from penstock.protos.model_config_pb2 import ModelConfig


class InputRule(NamedTuple):
    """What one input must be.

    Attributes:
        shape: with the batch dimension, where there is one; -1 is any size.
        dims: the same without the batch dimension.
        row_bytes: bytes of one row, None where they depend on the request.
        item_bytes: bytes of one element, None for BYTES.
    """

    datatype: str
    shape: tuple[int, ...]
    dims: list[int]
    row_bytes: int | None
    item_bytes: int | None

    @classmethod
    def of(cls, spec: TensorSpec, lead: int) -> "InputRule":
        """The rule for an input with this full shape, of which *lead* dimensions are the batch."""
        dims = list(spec.shape)[lead:]
        item_bytes = ITEM_BYTES[spec.datatype]
        return cls(
            spec.datatype,
            tuple(spec.shape),
            dims,
            math.prod(dims) * item_bytes if item_bytes and -1 not in dims else None,
            item_bytes,
        )


@dataclass(frozen=True, slots=True)
class Rules:
    """What requests to one version of a model must be.

    Attributes:
        lead: dimensions that precede an input's own: 1 with a batch dimension, else 0.
        required: names of the inputs that every request must have.
        outputs: output -> its datatype.
        levels: priority levels; 0 for none.
        timeout_us: how long a request may wait in the queue; 0 for its deadline alone.
        may_shorten: whether a request may ask for less than that.
        by_level: both, for each level; the other two are for requests that ask for none.
    """

    max_batch_size: int
    lead: int
    inputs: dict[str, InputRule]
    required: tuple[str, ...]
    outputs: dict[str, str]
    levels: int
    default_level: int
    timeout_us: int
    may_shorten: bool
    by_level: Mapping[int, QueuePolicy]

    @classmethod
    def of(
        cls, config: ModelConfig, inputs: Iterable[TensorSpec], outputs: Iterable[TensorSpec]
    ) -> "Rules":
        """The rules of a version with this completed configuration and these full shapes."""
        lead = 1 if config.max_batch_size > 0 else 0
        batching = config.dynamic_batching
        specs = tuple(inputs)
        policy = default_policy(batching)
        return cls(
            max_batch_size=config.max_batch_size,
            lead=lead,
            inputs={spec.name: InputRule.of(spec, lead) for spec in specs},
            required=tuple(spec.name for spec in specs if not spec.optional),
            outputs={spec.name: spec.datatype for spec in outputs},
            levels=batching.priority_levels,
            default_level=batching.default_priority_level,
            timeout_us=policy.timeout_us,
            may_shorten=policy.may_shorten,
            by_level=by_level(batching),
        )
