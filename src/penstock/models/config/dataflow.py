"""Which tensors flow between the stages of a pipeline: by name, through one shared environment.

A request brings its inputs into the environment; each stage reads some of its tensors and adds
others; the reply is taken from it at the end. A whole model is a pipeline of one stage.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from penstock.errors import InvalidConfiguration
from penstock.protos import cluster_pb2 as pb


@dataclass(frozen=True, slots=True)
class StagePlan:
    """What one stage does with the environment.

    Attributes:
        consumes: tensors that its shard reads.
        produces: tensors that its shard writes.
        keeps: tensors that travel on, since a later stage or the reply needs them; of the
            request, of earlier stages, and of its own. The last stage keeps the model's outputs.
    """

    consumes: tuple[str, ...]
    produces: tuple[str, ...]
    keeps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Flow:
    """All tensors of a pipeline.

    Attributes:
        inputs: what stages read and no stage writes, in order of first use.
        products: what stages write, in order.
        last: names that the last stage writes.
    """

    inputs: dict[str, pb.TensorSpec]
    products: dict[str, pb.TensorSpec]
    last: tuple[str, ...]
    artifacts: tuple[str, ...]
    signatures: tuple[pb.Signature, ...]

    def crossing(self, stages: Sequence[StagePlan]) -> list[tuple[str, pb.TensorSpec]]:
        """The products that travel from one stage to another."""
        names = {name for stage in stages[:-1] for name in stage.keeps}
        return [(name, spec) for name, spec in self.products.items() if name in names]

    def stages(self, inputs: Sequence[str], outputs: Sequence[str]) -> tuple[StagePlan, ...]:
        """Each stage's part when requests bring *inputs* and want *outputs*."""
        given = set(inputs)
        needed = set(outputs)
        plans: list[StagePlan] = []
        for signature in reversed(self.signatures):
            consumes = tuple(
                spec.name
                for spec in signature.inputs
                if not spec.optional or spec.name in given or spec.name in self.products
            )
            produces = tuple(spec.name for spec in signature.outputs)
            keeps = tuple(name for name in (*self.inputs, *self.products) if name in needed)
            plans.append(StagePlan(consumes, produces, keeps if plans else tuple(outputs)))
            needed = (needed - set(produces)) | set(consumes)
        return tuple(reversed(plans))


def flow(version: pb.ModelVersion, signatures: Sequence[pb.Signature]) -> Flow:
    """Follow the tensors through the stages of *version*.

    Raises:
        InvalidConfiguration: two stages write one name, a stage reads what only a later one
            writes, or two shards disagree about a tensor.
    """
    artifacts = tuple(stage.artifact for stage in version.stages)
    writer = _writers(artifacts, signatures)
    inputs: dict[str, pb.TensorSpec] = {}
    products: dict[str, pb.TensorSpec] = {}
    for index, (artifact, signature) in enumerate(zip(artifacts, signatures, strict=True)):
        for spec in signature.inputs:
            written_by = writer.get(spec.name)
            if written_by is not None and written_by >= index:
                raise InvalidConfiguration(
                    f"{artifact} reads '{spec.name}', which only {artifacts[written_by]} writes, "
                    "not an earlier stage: order the shards as the data flows, or rename the tensor"
                )
            if written_by is not None:
                _agree(products[spec.name], artifacts[written_by], spec, artifact)
            elif spec.name in inputs:
                _agree(inputs[spec.name], "an earlier stage", spec, artifact)
                inputs[spec.name] = _narrowed(inputs[spec.name], spec)
            else:
                inputs[spec.name] = spec
        products.update({spec.name: spec for spec in signature.outputs})
    last = tuple(spec.name for spec in signatures[-1].outputs)
    return Flow(inputs, products, last, artifacts, tuple(signatures))


def fits(shape: Sequence[int], other: Sequence[int]) -> bool:
    """Whether one tensor can have both shapes, where -1 is any size."""
    return len(shape) == len(other) and all(
        a == b or -1 in (a, b) for a, b in zip(shape, other, strict=True)
    )


def _writers(artifacts: Sequence[str], signatures: Sequence[pb.Signature]) -> dict[str, int]:
    writer: dict[str, int] = {}
    for index, signature in enumerate(signatures):
        for spec in signature.outputs:
            if spec.name in writer:
                raise InvalidConfiguration(
                    f"{artifacts[writer[spec.name]]} and {artifacts[index]} both write "
                    f"'{spec.name}': rename one of the two when exporting"
                )
            writer[spec.name] = index
    return writer


def _agree(spec: pb.TensorSpec, source: str, wanted: pb.TensorSpec, reader: str) -> None:
    any_rank = _is_open(spec) or _is_open(wanted)
    if spec.datatype != wanted.datatype or not (any_rank or fits(spec.shape, wanted.shape)):
        raise InvalidConfiguration(
            f"{reader} expects '{spec.name}' as {shown(wanted)}, but {source} has it as "
            f"{shown(spec)}: export both shards from the same model"
        )


def _narrowed(spec: pb.TensorSpec, other: pb.TensorSpec) -> pb.TensorSpec:
    if _is_open(spec) or _is_open(other):
        return other if _is_open(spec) else spec
    return pb.TensorSpec(
        name=spec.name,
        datatype=spec.datatype,
        shape=[max(pair) for pair in zip(spec.shape, other.shape, strict=True)],
        optional=spec.optional and other.optional,
    )


def _is_open(spec: pb.TensorSpec) -> bool:
    """Whether nobody knows how many dimensions it has: none are told, and none were seen."""
    return spec.any_rank and not spec.shape


def shown(spec: pb.TensorSpec) -> str:
    """The tensor's type for people: FP32[-1,10]."""
    sizes = "any rank" if _is_open(spec) else ",".join(map(str, spec.shape))
    return f"{spec.datatype}[{sizes}]"
