"""Reshape: a tensor that the artifact has in other dimensions than clients see.

In config.pbtxt `dims` are what clients send and get, and `reshape.shape` is what the artifact reads
or writes; both without the batch dimension. The order of the elements stays. Each dimension of any
size (-1) of the one is the same one of the other, and what lies between two of them has as many
elements on either side. Pure.
"""

from collections.abc import Sequence

from penstock.protos import model_config_pb2 as pb

ConfigTensor = pb.ModelInput | pb.ModelOutput


def artifact_dims(tensor: ConfigTensor) -> list[int]:
    """The dims of *tensor* as the artifact has them."""
    return list(tensor.reshape.shape if tensor.HasField("reshape") else tensor.dims)


def fitted(shape: Sequence[int], pattern: Sequence[int], wanted: Sequence[int]) -> list[int]:
    """*wanted* with its open sizes filled in, for a tensor of *shape* that has *pattern*."""
    sizes = iter([size for size, dim in zip(shape, pattern, strict=True) if dim == -1])
    return [next(sizes) if dim == -1 else dim for dim in wanted]


def problem(tensor: ConfigTensor) -> str | None:
    """What is wrong with the reshape of *tensor*; None when nothing is, or when it has none."""
    if not tensor.HasField("reshape"):
        return None
    shape, dims = list(tensor.reshape.shape), list(tensor.dims)
    if any(size < 1 and size != -1 for size in shape):
        return f"each of reshape.shape must be 1 or more, or -1 for any size, got {shape}"
    if _between_open(shape) != _between_open(dims):
        return (
            f"reshape.shape {shape} does not have as many elements as dims {dims}; between "
            "dimensions of any size (-1), of which both must have the same number, as well"
        )
    return None


def _between_open(dims: Sequence[int]) -> list[int]:
    """Elements before the first open dimension, between it and the next, and so on."""
    runs = [1]
    for size in dims:
        if size == -1:
            runs.append(1)
        else:
            runs[-1] *= size
    return runs
