"""Ensembles: models that are made of other models, as config.pbtxt describes them. Pure.

Here is what can be said of an ensemble from its own configuration; the words are Triton's. What
depends on the models that it is made of is in `routes`.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from penstock.protos import cluster_pb2
from penstock.protos import model_config_pb2 as pb

PLATFORM: Final = "ensemble"

Step = pb.ModelEnsembling.Step


def is_ensemble(version: cluster_pb2.ModelVersion) -> bool:
    """Whether the content of a version that can be served is an ensemble: it has no artifact."""
    return not version.stages and not version.error


def needs(version: cluster_pb2.ModelVersion) -> list[str]:
    """Names of the models that an ensemble's steps run, each once; empty for other models."""
    if not is_ensemble(version):
        return []
    config = pb.ModelConfig.FromString(version.config)
    return list(dict.fromkeys(step.model_name for step in config.ensemble_scheduling.step))


def users(versions: Iterable[cluster_pb2.ModelVersion]) -> dict[str, set[str]]:
    """Model -> the ensembles among *versions* that need it, for themselves or for inner ones."""
    needed: dict[str, set[str]] = {}
    for version in versions:
        needed.setdefault(version.model, set()).update(needs(version))
    found: dict[str, set[str]] = {}
    for ensemble, models in needed.items():
        seen, left = set[str](), list(models)
        while left:
            model = left.pop()
            if model not in seen:
                seen.add(model)
                found.setdefault(model, set()).add(ensemble)
                left += needed.get(model, ())
    return found


def problems(config: pb.ModelConfig, name: str) -> Iterator[str]:
    """What is wrong with the ensemble *name*, or with a model that is half of one."""
    if not config.HasField("ensemble_scheduling") and config.platform != PLATFORM:
        return
    if config.platform != PLATFORM:
        yield (
            f"ensemble scheduling cannot be set for model '{name}' whose platform is not {PLATFORM}"
        )
    yield from _field_problems(config, name)
    if not config.ensemble_scheduling.step:
        yield f"must specify 'step' for ensemble '{name}'"
    yield from _tensor_problems(config, name)
    yield from _step_problems(config.ensemble_scheduling.step, name)
    yield from _flow_problems(config, name)


def in_order(steps: Sequence[Step], given: Iterator[str] | Sequence[str]) -> list[int]:
    """Places of *steps*, each after those whose tensors it reads; without those that never can.

    Args:
        given: tensors that are there from the beginning.
    """
    there, order = set(given), list[int]()
    left = dict(enumerate(steps))
    while True:
        ready = [at for at, step in left.items() if there.issuperset(step.input_map.values())]
        if not ready:
            return order
        # The first one only: whoever wrote the configuration had an order in mind.
        order.append(ready[0])
        there.update(left.pop(ready[0]).output_map.values())


def _field_problems(config: pb.ModelConfig, name: str) -> Iterator[str]:
    """What only a model with workers of its own can have."""
    if config.instance_group:
        yield f"instance group should not be specified for ensemble '{name}'"
    if config.HasField("optimization"):
        yield f"optimization should not be specified for ensemble '{name}'"
    if config.model_warmup:
        yield f"model_warmup can not be specified for ensemble '{name}'"
    for field in ("backend", "default_model_filename"):
        if getattr(config, field):
            yield f"{field} should not be specified for ensemble '{name}'"
    if config.model_transaction_policy.decoupled:
        yield f"model_transaction_policy.decoupled should not be specified for ensemble '{name}'"


def _tensor_problems(config: pb.ModelConfig, name: str) -> Iterator[str]:
    for kind, tensors in (("input", config.input), ("output", config.output)):
        if not tensors:
            yield f"must specify '{kind}' for ensemble '{name}'"
        for tensor in tensors:
            if tensor.HasField("reshape"):
                yield f"{kind} '{tensor.name}' of ensemble '{name}' cannot have a reshape"
    for tensor in config.input:
        if tensor.optional:
            yield f"input '{tensor.name}' of ensemble '{name}' cannot be optional"


def _step_problems(steps: Sequence[Step], name: str) -> Iterator[str]:
    written: set[str] = set()
    for at, step in enumerate(steps):
        where = f"in step {at} of ensemble '{name}'"
        if not step.model_name:
            yield f"must specify 'model_name' {where}"
        if step.model_name == name:
            yield f"circular dependency between ensembles: {name} -> ... -> {name} -> {name}"
        if step.model_version < 1 and step.model_version not in (-1, 0):
            yield f"model_version must be 1 or more, or -1 for the latest, {where}"
        for field in ("input_map", "output_map"):
            if not getattr(step, field):
                yield f"must specify '{field}' {where}"
        for tensor in step.output_map.values():
            if tensor in written:
                yield (
                    f"ensemble tensor '{tensor}' can appear in an output map only once for "
                    f"ensemble '{name}' step {at}"
                )
            written.add(tensor)


def _flow_problems(config: pb.ModelConfig, name: str) -> Iterator[str]:
    steps = config.ensemble_scheduling.step
    given = [tensor.name for tensor in config.input]
    read = {tensor for step in steps for tensor in step.input_map.values()}
    written = {tensor for step in steps for tensor in step.output_map.values()}
    for tensor in given:
        if tensor not in read | written:
            yield f"ensemble input '{tensor}' for ensemble '{name}' is not used"
        if tensor in written:
            yield f"ensemble input '{tensor}' for ensemble '{name}' is written by a step"
    order = in_order(steps, given)
    there = set(given).union(*(steps[at].output_map.values() for at in order))
    outputs = [tensor.name for tensor in config.output]
    for tensor in outputs:
        if tensor not in read | written:
            yield f"ensemble output '{tensor}' for ensemble '{name}' is not used"
        elif tensor not in there:
            yield f"output '{tensor}' for ensemble '{name}' is not written{_why(steps, there)}"
    for tensor in sorted((read | written) - set(outputs)):
        if tensor not in there or tensor not in read:
            why = "" if tensor in there else _why(steps, there)
            yield f"ensemble tensor '{tensor}' is unused in ensemble '{name}'{why}"


def _why(steps: Sequence[Step], there: set[str]) -> str:
    """Which tensor the first step that can never run lacks."""
    for at, step in enumerate(steps):
        missing = sorted(set(step.input_map.values()) - there)
        if missing:
            cycle = any(missing[0] in other.output_map.values() for other in steps)
            why = "only a later step writes" if cycle else "no step writes"
            return f": step {at}, '{step.model_name}', reads '{missing[0]}', which {why}"
    return ""
