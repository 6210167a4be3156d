"""Reshaping: from the dimensions that clients see to those of the shard, and back."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Self

from penstock.models.config.reshape import ConfigTensor, artifact_dims, fitted
from penstock.protos import model_config_pb2 as config_pb
from penstock.tensors import Array


class _Dims(NamedTuple):
    """Dims of one tensor without the batch dimension, -1 for any size: clients', the shard's."""

    outside: tuple[int, ...]
    inside: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Reshaping:
    """The tensors of a stage that it has in other dimensions than clients do.

    Attributes:
        lead: dimensions in front that stay: 1 with a batch dimension, else 0.
    """

    tensors: Mapping[str, _Dims]
    lead: int

    @classmethod
    def of(cls, config: config_pb.ModelConfig, names: Iterable[str]) -> Self | None:
        """For a stage that reads and writes *names*; None when it has nothing to reshape.

        A tensor travels between stages as clients see it, so that it may be an output and be read
        by a later stage.
        """
        wanted = set(names)
        listed: list[ConfigTensor] = [*config.input, *config.output]
        tensors = {
            tensor.name: _Dims(tuple(tensor.dims), tuple(artifact_dims(tensor)))
            for tensor in listed
            if tensor.name in wanted and tensor.HasField("reshape")
        }
        return cls(tensors, 1 if config.max_batch_size > 0 else 0) if tensors else None

    def inward(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """What the shard reads, from what came."""
        return self._changed(arrays, inward=True)

    def outward(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """What travels on, from what the shard wrote."""
        return self._changed(arrays, inward=False)

    def _changed(self, arrays: Mapping[str, Array], *, inward: bool) -> dict[str, Array]:
        changed = dict(arrays)
        for name, array in arrays.items():
            if (dims := self.tensors.get(name)) is not None:
                pattern, wanted = dims if inward else reversed(dims)
                lead, sizes = list(array.shape[: self.lead]), array.shape[self.lead :]
                changed[name] = array.reshape(lead + fitted(sizes, pattern, wanted))
        return changed
