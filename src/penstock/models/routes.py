"""Routes: the way of a request through an ensemble, over revisions of other models. Pure.

An ensemble's steps form a graph; a request goes through them one after another, in an order in
which each step finds what it reads, and carries along what later steps read (ADR 0012). A step
that is an ensemble itself is replaced by that ensemble's steps.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from penstock.errors import InvalidConfiguration
from penstock.models.completion import Deployment, labels_of
from penstock.models.config.dataflow import fits, shown
from penstock.models.config.ensembles import Step, in_order
from penstock.models.config.model_config import datatype_of_config
from penstock.models.config.policies import note
from penstock.models.config.python_models import is_decoupled
from penstock.models.config.reshape import ConfigTensor
from penstock.models.embeddings import embedder_of
from penstock.models.refs import StageRef
from penstock.protos import cluster_pb2 as pb
from penstock.protos import model_config_pb2 as config_pb


@dataclass(frozen=True, slots=True)
class Component:
    """What a step runs: a revision of a model, or another ensemble with its route."""

    ref: StageRef
    deployment: Deployment


Lookup = Callable[[str, int], Component]
"""The component for a model and a version of it, 0 for the latest."""


def compose(version: pb.ModelVersion, lookup: Lookup) -> Deployment:
    """The ensemble *version*, complete, with the route of its requests.

    Raises:
        InvalidConfiguration: its steps do not go together; says which tensor and why.
    """
    config = config_pb.ModelConfig.FromString(version.config)
    config.name = version.model
    made = _Composition(config, lookup)
    steps = made.steps()
    if any(step.decoupled for step in steps):
        config.model_transaction_policy.decoupled = True
    outputs = [tensor.name for tensor in config.output]
    keep(steps, outputs)
    specs = made.inputs, made.outputs()
    return Deployment(
        config=config,
        inputs=specs[0],
        outputs=specs[1],
        stages=(),
        labels=_labels(version, config, made.components),
        route=pb.Route(
            ensemble=version.model, version=version.version, steps=steps, outputs=outputs
        ),
        embedder=embedder_of(config, *specs),
    )


def keep(steps: Sequence[pb.RouteStep], outputs: Sequence[str]) -> None:
    """Note at each step which tensors travel on from it: those read later, and the outputs."""
    needed = list(outputs)
    for step in reversed(steps):
        step.keeps[:] = needed
        written = set(step.outputs.values())
        before = [tensor for tensor in needed if tensor not in written]
        needed = list(dict.fromkeys([*before, *sorted(step.inputs.values())]))


@dataclass(slots=True)
class _Composition:
    """An ensemble under examination.

    Attributes:
        tensors: the ensemble's tensors that are known so far, and whose word it is.
        components: what its steps run, by place.
    """

    config: config_pb.ModelConfig
    lookup: Lookup
    tensors: dict[str, tuple[pb.TensorSpec, str]] = field(default_factory=dict)
    components: dict[int, Component] = field(default_factory=dict)

    @property
    def inputs(self) -> tuple[pb.TensorSpec, ...]:
        """The ensemble's inputs, with full shapes."""
        return tuple(self._spec(tensor) for tensor in self.config.input)

    def outputs(self) -> tuple[pb.TensorSpec, ...]:
        """The same for its outputs, which steps have written as they are declared."""
        specs = tuple(self._spec(tensor) for tensor in self.config.output)
        for spec in specs:
            self._agree(spec.name, spec, self.config.name)
        return specs

    def steps(self) -> list[pb.RouteStep]:
        """The steps in order, those of inner ensembles in their places."""
        for spec in self.inputs:
            self.tensors[spec.name] = (spec, self.config.name)
        listed = self.config.ensemble_scheduling.step
        made: list[pb.RouteStep] = []
        for at in in_order(listed, list(self.tensors)):
            step = listed[at]
            found = self.lookup(step.model_name, max(0, step.model_version))
            self.components[at] = found
            self._check_batching(found)
            if found.deployment.sequences is not None:
                raise self._refusal(
                    f"model {found.ref.model} has sequence_batching, and a step belongs to no "
                    "sequence: call it by itself"
                )
            self._check_inputs(step, found)
            self._check_outputs(step, found)
            made += _expanded(step, at, found)
        return made

    def _spec(self, tensor: ConfigTensor) -> pb.TensorSpec:
        lead = [-1] if self.config.max_batch_size else []
        datatype = datatype_of_config(tensor.data_type)
        return pb.TensorSpec(name=tensor.name, datatype=datatype, shape=[*lead, *tensor.dims])

    def _check_batching(self, found: Component) -> None:
        ours, theirs = self.config.max_batch_size, found.deployment.config.max_batch_size
        if theirs and theirs < ours:
            raise InvalidConfiguration(
                f"ensemble {self.config.name} allows maximum batch size {ours}, but it contains "
                f"model {found.ref.model} which only allows maximum batch size to be {theirs}"
            )

    def _check_inputs(self, step: Step, found: Component) -> None:
        model = step.model_name
        there = {spec.name: spec for spec in found.deployment.inputs}
        for name, tensor in sorted(step.input_map.items()):
            if name not in there:
                raise self._refusal(
                    f"ensemble tensor {tensor} is mapped to non-existing input {name} in model "
                    f"{model}"
                )
            self._agree(tensor, there[name], model)
        for name, spec in there.items():
            if name not in step.input_map and not spec.optional:
                raise self._refusal(
                    f"input {name} in model {model} is not mapped to any ensemble tensors"
                )

    def _check_outputs(self, step: Step, found: Component) -> None:
        model = step.model_name
        there = {spec.name: spec for spec in found.deployment.outputs}
        for name, tensor in sorted(step.output_map.items()):
            if name not in there:
                raise self._refusal(
                    f"ensemble tensor {tensor} is mapped from non-existing output {name} in model "
                    f"{model}"
                )
            self.tensors[tensor] = (there[name], model)

    def _agree(self, tensor: str, wanted: pb.TensorSpec, reader: str) -> None:
        spec, source = self.tensors[tensor]
        same_type = spec.datatype == wanted.datatype
        if not (same_type and fits(spec.shape, wanted.shape)):
            what = "shape" if same_type else "data type"
            raise self._refusal(
                f"ensemble tensor {tensor}: inconsistent {what}: {shown(spec)} is inferred from "
                f"model {source} while {shown(wanted)} is inferred from model {reader}"
            )

    def _refusal(self, why: str) -> InvalidConfiguration:
        return InvalidConfiguration(f"in ensemble {self.config.name}, {why}")


def _expanded(step: Step, at: int, found: Component) -> Iterator[pb.RouteStep]:
    """A step as the route has it; several where it is an ensemble."""
    inner = found.deployment.route
    if inner is None:
        yield _plain(step, at, found)
        return
    outer = {**step.input_map, **step.output_map}
    for one in inner.steps:
        renamed = pb.RouteStep()
        renamed.CopyFrom(one)
        for tensors in (renamed.inputs, renamed.outputs):
            for name, tensor in list(tensors.items()):
                tensors[name] = outer.get(tensor, f"{at}/{step.model_name}/{tensor}")
        renamed.within[:] = [step.model_name, *one.within]
        yield renamed


def _plain(step: Step, at: int, found: Component) -> pb.RouteStep:
    config = found.deployment.config
    made = pb.RouteStep(
        model=found.ref.model,
        version=found.ref.version,
        revision_id=found.ref.revision_id,
        inputs=step.input_map,
        outputs=step.output_map,
        batched=config.max_batch_size > 0,
        index=at,
        decoupled=is_decoupled(config),
    )
    note(config.dynamic_batching, made)
    return made


def _labels(
    version: pb.ModelVersion,
    config: config_pb.ModelConfig,
    components: Mapping[int, Component],
) -> dict[str, tuple[str, ...]]:
    """Labels of outputs: the ensemble's own, or else those of the model that writes it."""
    found: dict[str, tuple[str, ...]] = {}
    listed = config.ensemble_scheduling.step
    for at, component in components.items():
        theirs = component.deployment.labels
        found |= {t: theirs[n] for n, t in listed[at].output_map.items() if n in theirs}
    found = {o.name: found[o.name] for o in config.output if o.name in found}
    return found | labels_of(version, config)
