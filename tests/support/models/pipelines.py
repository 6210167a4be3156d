"""Small models to be cut, and served pipelines: stages run by the runtimes, chained by name."""

import warnings
from pathlib import Path

import numpy as np

from penstock.models.completion import complete
from penstock.models.files.repository import scan
from penstock.sharding.pipeline import Order, shard_onnx, shard_torch
from penstock.sharding.samples import parse_inputs
from penstock.workers.loading.batch_proof import prove
from penstock.workers.runtimes.opening import open_runtime
from penstock.workers.runtimes.runtime import DeviceRef

CPU = DeviceRef("cpu", 0, 1)
WIDTH = 8


def value(name, datatype="FLOAT", shape=("n", WIDTH)):
    from onnx import TensorProto, helper

    return helper.make_tensor_value_info(name, getattr(TensorProto, datatype), list(shape))


def node(op, reads, writes, **attributes):
    from onnx import helper

    return helper.make_node(op, reads.split(), writes.split(), **attributes)


def weight(name, *shape):
    """Small numbers, the same each time."""
    chance = np.random.default_rng(sum(map(ord, name)))
    return constant(name, (chance.standard_normal(shape or (WIDTH, WIDTH)) / 4).astype(np.float32))


def constant(name, array):
    from onnx import numpy_helper

    return numpy_helper.from_array(np.asarray(array), name)


def onnx_graph(nodes, inputs, outputs, weights=()):
    from onnx import helper

    return helper.make_graph(nodes, "model", inputs, outputs, initializer=list(weights))


def write_onnx(folder, graph, *, opset=17, domains=(), ir=9, **options):
    """Write ``folder/model.onnx`` and return its path.

    *domains*: of operators that are not ONNX's own.
    """
    import onnx

    ids = [("", opset), *((domain, 1) for domain in domains)]
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid(*one) for one in ids], ir_version=ir
    )
    path = Path(folder) / "model.onnx"
    onnx.save(model, str(path), **options)
    return path


def chain(*steps, outputs=("y",), inputs=None):
    """``chain("MatMul x a h", "Relu h y")``: one node each; reads "a" and "b" are weights."""
    nodes, weights = [], {}
    for step in steps:
        op, *names = step.split()
        nodes.append(node(op, " ".join(names[:-1]), names[-1]))
        weights.update({name: weight(name) for name in names[1:-1] if name in "abc"})
    return onnx_graph(
        nodes, inputs or [value("x")], [value(name) for name in outputs], weights.values()
    )


def cut_onnx(path, stages, directory, *inputs):
    return shard_onnx(Path(path), Order(stages, directory), parse_inputs(inputs), _quietly)


def cut_torch(factory, stages, directory, *inputs):
    return shard_torch(factory, Order(stages, directory), parse_inputs(inputs), _quietly)


def export(path, module, *arguments, extra=None, **options):
    """Write *module* as people do: torch.export, then torch.export.save."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(module, arguments, **options)
        torch.export.save(program, str(path), extra_files=extra or {})
    return path


class Served:
    """A model of a repository, its stages loaded and run as workers do."""

    def __init__(self, repository, name):
        self.version = next(one for one in scan(repository) if one.model == name)
        assert not self.version.error, self.version.error
        self._runtimes = [
            open_runtime(repository / one.artifact, one.runtime, CPU) for one in self.version.stages
        ]
        signatures = [one.signature for one in self._runtimes]
        proofs = [prove(one, "cpu") for one in self._runtimes]
        self.deployment = complete(self.version, signatures, proofs)

    @property
    def inputs(self):
        return [spec.name for spec in self.deployment.inputs]

    @property
    def outputs(self):
        return [spec.name for spec in self.deployment.outputs]

    def infer(self, request):
        tensors = dict(request)
        for stage, runtime in zip(self.deployment.stages, self._runtimes, strict=True):
            reads = {name: tensors[name] for name in stage.consumes}
            tensors.update(runtime.run(reads, list(stage.produces)))
            tensors = {name: tensors[name] for name in stage.keeps}
        return tensors


def _quietly(doing, share):
    assert doing
    assert 0 <= share <= 1
