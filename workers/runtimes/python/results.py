"""What a Python model returns, held against what config.pbtxt says of its outputs. Pure."""

from collections.abc import Mapping

import numpy as np

from penstock.errors import PenstockError
from penstock.models.config.dataflow import fits
from penstock.protos.cluster_pb2 import TensorSpec
from penstock.tensors import NUMPY_TYPES, Array


class WrongResult(PenstockError):
    """The model returned something else than config.pbtxt says; the text says what."""


def checked(
    results: object, outputs: Mapping[str, TensorSpec], rows: int | None
) -> dict[str, Array]:
    """*results* as arrays by name, of exactly the *outputs*.

    Args:
        outputs: name -> datatype and full shape, -1 for any size.
        rows: size of the batch dimension that each output must have; None for any.

    Raises:
        WrongResult: a name, dtype, shape or element is not as it should be.
    """
    if not isinstance(results, Mapping):
        raise WrongResult(
            f"it returned a {type(results).__name__}, and must return a dict of numpy arrays by "
            "output name"
        )
    strange = [name for name in results if name not in outputs]
    missing = [name for name in outputs if name not in results]
    if strange or missing:
        what = f"output '{strange[0]}'" if strange else f"no output '{missing[0]}'"
        listed = ", ".join(f"'{name}'" for name in outputs)
        raise WrongResult(f"it returned {what}; the outputs in config.pbtxt are {listed}")
    for name, spec in outputs.items():
        _check(name, results[name], spec, rows)
    return {name: results[name] for name in outputs}


def _check(name: str, array: object, spec: TensorSpec, rows: int | None) -> None:
    if not isinstance(array, np.ndarray):
        raise WrongResult(f"output '{name}' is a {type(array).__name__}, and must be a numpy array")
    if spec.datatype == "BYTES":
        _check_text(name, array)
    elif array.dtype.newbyteorder("<") != NUMPY_TYPES[spec.datatype]:
        raise WrongResult(
            f"output '{name}' is {array.dtype}, and config.pbtxt says TYPE_{spec.datatype}: "
            f"return it .astype(np.{NUMPY_TYPES[spec.datatype].name})"
        )
    if not fits(array.shape, list(spec.shape)):
        raise WrongResult(
            f"output '{name}' has shape {list(array.shape)}, and config.pbtxt says "
            f"{list(spec.shape)}{' with the batch dimension' if rows is not None else ''}"
        )
    if rows is not None and array.shape[0] != rows:
        raise WrongResult(
            f"output '{name}' has shape {list(array.shape)} for a batch of {rows}: its first "
            "dimension must be the batch's"
        )


def _check_text(name: str, array: Array) -> None:
    if array.dtype.kind in "SU":
        return
    if array.dtype.kind != "O":
        raise WrongResult(
            f"output '{name}' is {array.dtype}, and config.pbtxt says TYPE_STRING: return an array "
            "of dtype object that holds bytes or str"
        )
    for element in array.reshape(-1):
        if not isinstance(element, bytes | str):
            raise WrongResult(
                f"output '{name}' holds a {type(element).__name__}, and config.pbtxt says "
                "TYPE_STRING: its elements must be bytes or str"
            )
