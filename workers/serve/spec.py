"""The spec of a worker: which stage it serves, and how."""

from collections.abc import Mapping
from dataclasses import dataclass

from penstock.models.refs import StageRef
from penstock.protos import cluster_pb2 as pb
from penstock.workers.run.decoding import Decoder
from penstock.workers.serve.batching import BatchRules


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """Which stage a worker serves, and how.

    Attributes:
        boot_id: new with each start; lease tokens begin with it.
        hop_name: how the worker calls itself in a request's path.
        consumes: names of the tensors that its shard reads.
        keeps: names of those that travel on; in the last stage the model's outputs.
        optional: names of those that a request may lack.
        batched: tensors have a batch dimension in front.
        by_parameters: requests that differ in their own parameters must not share a batch.
        inputs: the model's, with full shapes; what an ensemble hands it is held against them.
        states: output -> input, of what a sequence hands from one request to the next; None for
            stateless models.
        preempts: jobs make room for those of a more urgent level.
        streams: requests of a decoupled model that may be under way at a time.
        guessed: how many rows may share a run is a guess, to be tried (`batching.RowLimit`).
    """

    ref: StageRef
    last: bool
    boot_id: str
    hop_name: str
    consumes: tuple[str, ...]
    keeps: tuple[str, ...]
    rules: BatchRules
    batched: bool
    optional: frozenset[str]
    by_parameters: bool
    lease_ms: int
    inputs: tuple[pb.TensorSpec, ...] = ()
    states: Mapping[str, str] | None = None
    streams: int = 1
    guessed: bool = False
    preempts: bool = False

    def decoder(self) -> Decoder:
        """What reads the stage's jobs."""
        return Decoder(
            self.consumes,
            batched=self.batched,
            optional=self.optional,
            by_parameters=self.by_parameters,
        )
