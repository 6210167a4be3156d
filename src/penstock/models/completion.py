"""Completion: what the owner's configuration leaves open, taken from the artifacts.

As Triton does it for ONNX models: absent inputs and outputs are those of the artifacts. Where it
gives no `max_batch_size`, `batch_guess` decides whether there is a batch dimension.

What the configuration does say is held against the artifacts; whatever disagrees is refused.
Requests are batched with each other when the completed configuration has `dynamic_batching`: the
owner wrote it, or left `max_batch_size` open and it is proved that they may be.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from penstock.errors import InvalidConfiguration
from penstock.models.batch_guess import DEFAULT_MAX_BATCH, BatchProofs, guess, is_open, stated
from penstock.models.config import warmup
from penstock.models.config.dataflow import Flow, StagePlan, fits, flow, shown
from penstock.models.config.model_config import (
    LANGUAGE,
    PYTHON,
    check_runtimes,
    config_type_of,
    datatype_of_config,
)
from penstock.models.config.reshape import ConfigTensor, artifact_dims
from penstock.models.embeddings import Embedder, embedder_of
from penstock.models.sequencing import (
    SequencePlan,
    hidden_inputs,
    hidden_outputs,
    sequence_plan,
)
from penstock.protos import cluster_pb2 as pb
from penstock.protos import model_config_pb2 as config_pb
from penstock.recent import Recent

__all__ = ["DEFAULT_MAX_BATCH", "Deployment", "StagePlan", "complete", "completed"]

_PLATFORMS: Final = {
    "onnxruntime": ("onnxruntime_onnx", "onnxruntime"),
    "pytorch": ("pytorch_export", "pytorch"),
    PYTHON: ("", PYTHON),
    LANGUAGE: ("", LANGUAGE),
}
_PIPELINE: Final = ("penstock_pipeline", "penstock")


@dataclass(frozen=True, slots=True)
class Deployment:
    """A model version, complete: all that is needed to take and to run its requests.

    Attributes:
        config: as ModelConfig answers it.
        inputs, outputs: with full shapes; the first dimension is -1 if max_batch_size > 0.
        stages: each stage's part, in order.
        labels: output -> its labels by index, for outputs that have a label file.
        route: of an ensemble, which has no stages of its own; None for other models.
        sequences: how its sequences are run; None for a stateless model.
        batching: whether its requests share runs, and why; for people, empty for an ensemble.
        guessed: `max_batch_size` is none that its owner gave.
        embedder: how it is asked for embeddings; None where it makes none.
    """

    config: config_pb.ModelConfig
    inputs: tuple[pb.TensorSpec, ...]
    outputs: tuple[pb.TensorSpec, ...]
    stages: tuple[StagePlan, ...]
    labels: Mapping[str, tuple[str, ...]]
    route: pb.Route | None = None
    sequences: SequencePlan | None = None
    batching: str = ""
    guessed: bool = False
    embedder: Embedder | None = None


def complete(
    version: pb.ModelVersion, signatures: Sequence[pb.Signature], proofs: BatchProofs = ()
) -> Deployment:
    """Complete *version* from what its shards turned out to be, one signature for each stage.

    The same arguments give the same object for as long as they are asked for; nobody may change
    what is in it.

    Args:
        proofs: whether rows may run together, for each stage as well; nothing is batched without
            them that the owner does not say is.

    Raises:
        InvalidConfiguration: configuration and artifacts do not go together; says what to change.
    """
    key = (
        version.SerializeToString(deterministic=True),
        tuple(signature.SerializeToString(deterministic=True) for signature in signatures),
        tuple(
            None if proof is None else proof.SerializeToString(deterministic=True)
            for proof in proofs
        ),
    )
    return completed.of(key, lambda: _complete(*key))


completed: Final[Recent[tuple[bytes, tuple[bytes, ...], tuple[bytes | None, ...]], Deployment]] = (
    Recent()
)
"""What `complete` has made; whoever has asked for all that there is calls its `turn`."""


def _complete(
    version_bytes: bytes,
    signature_bytes: tuple[bytes, ...],
    proof_bytes: tuple[bytes | None, ...],
) -> Deployment:
    version = pb.ModelVersion.FromString(version_bytes)
    signatures = [pb.Signature.FromString(content) for content in signature_bytes]
    _check_known(version, signatures)
    # Where the model's own code completes it, one worker has asked that code for all others.
    config = config_pb.ModelConfig.FromString(signatures[0].config or version.config)
    config.name = version.model
    tensors = _ranked(flow(version, signatures), config)
    _reshape_scalars(config, tensors)
    unsent, unasked = hidden_inputs(config), hidden_outputs(config)
    sent = {name: spec for name, spec in tensors.inputs.items() if name not in unsent}
    inputs = _chosen("input", config.input, sent, tensors)
    outputs = _chosen("output", config.output, tensors.products, tensors, unasked)
    kept = dict.fromkeys([*(s.name for s in outputs), *unasked])
    stages = tensors.stages([*(s.name for s in inputs), *unsent], list(kept))
    between = [spec for _, spec in tensors.crossing(stages)]
    hidden = [spec for name, spec in tensors.inputs.items() if name in unsent]
    hidden += [spec for name, spec in tensors.products.items() if name in unasked]
    proofs = [None if it is None else pb.BatchProof.FromString(it) for it in proof_bytes]
    batching = _complete_batching(config, [*inputs, *outputs, *between, *hidden], proofs)
    _check_preferred_sizes(config, batching)
    sequences = sequence_plan(version, config, tensors.inputs, tensors.products)
    lead = 1 if config.max_batch_size else 0
    inputs = [_checked("input", config.input, spec, lead) for spec in inputs]
    outputs = [_checked("output", config.output, spec, lead) for spec in outputs]
    _complete_tensors(config, inputs, outputs, lead)
    warmup.check(config, [*inputs, *(sequences.inputs if sequences else ())])
    _complete_platform(config, version)
    return Deployment(
        *(config, tuple(inputs), tuple(outputs), stages, labels_of(version, config)),
        sequences=sequences,
        batching=batching,
        guessed=config_pb.ModelConfig.FromString(version.config).max_batch_size == 0,
        embedder=embedder_of(config, inputs, outputs),
    )


def _check_known(version: pb.ModelVersion, signatures: Sequence[pb.Signature]) -> None:
    if not version.stages or len(signatures) != len(version.stages):
        raise InvalidConfiguration(
            f"{version.model} version {version.version} has {len(version.stages)} shard(s), "
            f"but {len(signatures)} signature(s) are known"
        )


def labels_of(
    version: pb.ModelVersion, config: config_pb.ModelConfig
) -> dict[str, tuple[str, ...]]:
    """Output -> its labels, where the configuration names a file of them."""
    return {
        output.name: tuple(version.labels[output.label_filename].values)
        for output in config.output
        if output.label_filename in version.labels
    }


def _chosen(
    kind: str,
    listed: Sequence[ConfigTensor],
    found: Mapping[str, pb.TensorSpec],
    tensors: Flow,
    hidden: Collection[str] = (),
) -> list[pb.TensorSpec]:
    """The artifacts' tensors that are the model's inputs (or outputs), in order.

    Args:
        hidden: those that are not, unless they are listed.
    """
    names = [tensor.name for tensor in listed]
    for name in names:
        if name not in found:
            raise InvalidConfiguration(
                f"config.pbtxt: {kind} '{name}' is not an {kind} of "
                f"{' or '.join(tensors.artifacts)}, which {_has(kind, found)}"
            )
    if kind == "output":
        return [found[name] for name in names or tensors.last if names or name not in hidden]
    required = [name for name, spec in found.items() if not spec.optional]
    missing = [name for name in required if names and name not in names]
    if missing:
        reader = next(
            artifact
            for artifact, signature in zip(tensors.artifacts, tensors.signatures, strict=True)
            if any(spec.name == missing[0] for spec in signature.inputs)
        )
        raise InvalidConfiguration(
            f"{reader} reads '{missing[0]}', which no earlier stage writes and config.pbtxt does "
            f'not list: add input {{ name: "{missing[0]}" ... }}, or remove all inputs from '
            "config.pbtxt to have them completed"
        )
    return [found[name] for name in names or required]


def _ranked(tensors: Flow, config: config_pb.ModelConfig) -> Flow:
    """*tensors*, those of any rank with as many dimensions as *config* lists for them."""
    listed: list[ConfigTensor] = [*config.input, *config.output]
    lead = [-1] if config.max_batch_size > 0 else []
    shapes = {tensor.name: [*lead, *artifact_dims(tensor)] for tensor in listed}

    def ranked(spec: pb.TensorSpec) -> pb.TensorSpec:
        seen = list(spec.shape)
        shape = shapes.get(spec.name, seen)
        if not spec.any_rank or not (seen or spec.name in shapes):
            return spec
        # What was seen of it in a run are its dimensions, and no sizes.
        shape = seen if seen and not fits(shape, seen) else shape
        return pb.TensorSpec(
            name=spec.name, datatype=spec.datatype, shape=shape, optional=spec.optional
        )

    inputs = {name: ranked(spec) for name, spec in tensors.inputs.items()}
    for name, spec in inputs.items():
        if spec.any_rank and not spec.optional:
            entry = config_pb.DataType.Name(config_type_of(spec.datatype))
            raise InvalidConfiguration(
                f"{' or '.join(tensors.artifacts)} takes any number of dimensions of its input "
                f"'{name}': list it in config.pbtxt as requests have it, with -1 for sizes that "
                f'vary: input {{ name: "{name}" data_type: {entry} dims: [ -1, 4 ] }}'
            )
    products = {name: ranked(spec) for name, spec in tensors.products.items()}
    return replace(tensors, inputs=inputs, products=products)


def _reshape_scalars(config: config_pb.ModelConfig, tensors: Flow) -> None:
    """Take dims of ones for those of scalars: Triton's configurations must list some dims."""
    found = {**tensors.inputs, **tensors.products}
    listed: list[ConfigTensor] = [*config.input, *config.output]
    for tensor in listed:
        spec = found.get(tensor.name)
        is_scalar = spec is not None and not spec.shape and not spec.any_rank
        if is_scalar and set(tensor.dims) == {1} and not tensor.HasField("reshape"):
            tensor.reshape.SetInParent()


def _has(kind: str, found: Mapping[str, pb.TensorSpec]) -> str:
    names = ", ".join(f"'{name}'" for name in found)
    return f"has the {kind}s {names}" if names else f"has no {kind}s"


def _complete_batching(
    config: config_pb.ModelConfig, tensors: Sequence[pb.TensorSpec], proofs: BatchProofs
) -> str:
    if config.max_batch_size == 0:
        return guess(config, tensors, proofs)
    for spec in tensors:
        if not is_open(spec):
            raise InvalidConfiguration(
                f"config.pbtxt: max_batch_size is {config.max_batch_size}, but the first dimension "
                f"of '{spec.name}' is not of any size: it is {shown(spec)}; export the model with "
                "a dynamic batch dimension, or set max_batch_size to 0 and list the full dims"
            )
    return stated(config)


def _check_preferred_sizes(config: config_pb.ModelConfig, batching: str) -> None:
    scheduling = {
        "dynamic_batching": config.dynamic_batching.preferred_batch_size,
        "sequence_batching.oldest": config.sequence_batching.oldest.preferred_batch_size,
    }
    for where, sizes in scheduling.items():
        for size in sizes:
            if size > config.max_batch_size:
                raise InvalidConfiguration(
                    f"config.pbtxt: {where}.preferred_batch_size {size} is more than "
                    f"max_batch_size, which is {config.max_batch_size}"
                    + ("" if config.max_batch_size else f" (Penstock {batching})")
                )


def _checked(
    kind: str, listed: Iterable[ConfigTensor], spec: pb.TensorSpec, lead: int
) -> pb.TensorSpec:
    """*spec* as clients see it: as narrow as the configuration makes it, and in its dims."""
    listing = next((tensor for tensor in listed if tensor.name == spec.name), None)
    if listing is None:
        return spec
    where = f"config.pbtxt: {kind} '{spec.name}'"
    datatype = datatype_of_config(listing.data_type)
    if datatype != spec.datatype:
        raise InvalidConfiguration(
            f"{where} has data_type {config_pb.DataType.Name(listing.data_type)}, but the artifact "
            f"expects {config_pb.DataType.Name(config_type_of(spec.datatype))}; correct data_type"
        )
    dims, expected = artifact_dims(listing), list(spec.shape)[lead:]
    wider = any(a == -1 != b for a, b in zip(dims, expected, strict=False))
    # Requests can be held to less than an artifact takes; what it makes is its own affair.
    if wider or not fits(dims, expected) or (kind == "output" and dims != expected):
        field = "reshape.shape" if listing.HasField("reshape") else "dims"
        batch = " without the batch dimension, since max_batch_size is not 0" if lead else ""
        raise InvalidConfiguration(
            f"{where} has {field} {dims}, but the artifact expects {expected}{batch}; "
            f"correct {field}"
        )
    return pb.TensorSpec(
        name=spec.name,
        datatype=datatype,
        shape=[*spec.shape[:lead], *listing.dims],
        optional=_optional(listing, spec, where),
    )


def _optional(listing: ConfigTensor, spec: pb.TensorSpec, where: str) -> bool:
    """Whether requests may leave the tensor out: its artifact must be able to do without."""
    if not isinstance(listing, config_pb.ModelInput) or not listing.optional:
        return False
    if not spec.optional:
        raise InvalidConfiguration(
            f"{where} is optional, but the artifact cannot run without it; remove optional, or "
            "export the model with a default value for it (in ONNX: an initializer of its name)"
        )
    return True


def _complete_tensors(
    config: config_pb.ModelConfig,
    inputs: Iterable[pb.TensorSpec],
    outputs: Iterable[pb.TensorSpec],
    lead: int,
) -> None:
    if not config.input:
        for spec in inputs:
            kind = config_type_of(spec.datatype)
            config.input.add(name=spec.name, data_type=kind, dims=spec.shape[lead:])
    if not config.output:
        for spec in outputs:
            kind = config_type_of(spec.datatype)
            config.output.add(name=spec.name, data_type=kind, dims=spec.shape[lead:])


def _complete_platform(config: config_pb.ModelConfig, version: pb.ModelVersion) -> None:
    runtimes = [stage.runtime for stage in version.stages]
    check_runtimes(config, runtimes, "config.pbtxt")
    whole = len(runtimes) == 1
    # The stages of a language model are none that requests pass through one by one.
    own = whole or runtimes[0] == LANGUAGE
    platform, backend = _PLATFORMS[runtimes[0]] if own else _PIPELINE
    config.platform = config.platform or platform
    config.backend = config.backend or backend
    if whole and not config.default_model_filename:
        config.default_model_filename = version.stages[0].artifact.rpartition("/")[2]
    if not config.instance_group:
        kind = {"cpu": "KIND_CPU", "cuda": "KIND_GPU"}.get(version.device_kind, "KIND_AUTO")
        config.instance_group.add(kind=config_pb.ModelInstanceGroup.Kind.Value(kind))
    for index, group in enumerate(config.instance_group):
        group.name = group.name or f"{version.model}_{index}"
        group.count = group.count or 1
