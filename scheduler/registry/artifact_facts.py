"""What a worker found in its artifact, and what the whole cluster goes by.

Of a signature the latest counts: it follows from the file. Whether rows may run together is seen by
running them, which two workers may see differently: there the first finding stands, so that
everybody completes a model's configuration alike, and a batch that could not be split is never
forgotten while somebody has the artifact.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from penstock.protos import cluster_pb2 as pb
from penstock.scheduler.registry.snapshot import signature_id


@dataclass(frozen=True, slots=True)
class ArtifactFacts:
    """One worker's findings.

    Attributes:
        proof: whether rows run together equal rows run apart; None where nobody asks.
        unsplittable: why requests must not share a run, whatever is said elsewhere; "" if they may.
        footprint_bytes: of the device's memory that the worker held once it was ready; 0 where
            nobody has measured. Of all workers with a device of that kind the largest counts.
        rebuild: how a lost cache comes back in the numeric domain of the worker's record, where it
            was tried; "" where it was not. The first finding of each domain stands.
    """

    signature: pb.Signature
    proof: pb.BatchProof | None = None
    unsplittable: str = ""
    footprint_bytes: int = 0
    rebuild: str = ""


class AgreedFacts(NamedTuple):
    """The same, as the whole cluster goes by it."""

    proof: pb.BatchProof | None
    unsplittable: str

    @classmethod
    def read(cls, answer: list[Any]) -> Self:
        """What registry_announce.lua answered with."""
        _, proof, unsplittable = answer
        return cls(pb.BatchProof.FromString(proof) if proof else None, unsplittable.decode())


def as_words(record: object, facts: ArtifactFacts | None) -> tuple[str | bytes | int, ...]:
    """The artifact's name and *facts* as registry_announce.lua takes them; empty for nothing."""
    if facts is None or not isinstance(record, pb.Worker):
        return "", b"", b"", "", "", 0, "", ""
    return (
        signature_id(record.model, record.version, record.stage, record.fingerprint),
        facts.signature.SerializeToString(deterministic=True),
        b"" if facts.proof is None else facts.proof.SerializeToString(deterministic=True),
        facts.unsplittable,
        record.device.partition(":")[0],
        facts.footprint_bytes,
        record.numeric_domain,
        facts.rebuild,
    )
