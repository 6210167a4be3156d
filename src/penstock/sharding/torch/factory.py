"""The module that ``package.module:factory`` makes, and samples of its inputs."""

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from penstock.sharding.errors import CannotShard
from penstock.sharding.samples import HOW, InputSpec, reject_unknown
from penstock.tensors import NUMPY_TYPES, Array
from penstock.workers.runtimes.pt2_signature import DATATYPE_NAMES

Factory = Callable[[], Any]

_FORM = "name a function that makes the module, as package.module:factory"


def load_factory(text: str) -> Factory:
    """Import what ``package.module:factory`` names; the current directory can be imported from.

    Raises:
        CannotShard: there is no such thing.
    """
    module_name, _, name = text.partition(":")
    if not (module_name and name):
        raise CannotShard(f"cannot read '{text}': {_FORM}")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(module_name)
        for part in name.split("."):
            found = getattr(found, part)
    except ImportError as error:
        raise CannotShard(
            f"cannot import {module_name}: {error}; modules are looked for in {here} and among "
            "the installed packages"
        ) from None
    except AttributeError:
        raise CannotShard(f"{module_name} has no '{name}'; {_FORM}") from None
    except Exception as error:
        raise CannotShard(f"importing {module_name} fails: {_text_of(error)}") from error
    if isinstance(found, nn.Module):
        return lambda: found
    if not callable(found):
        raise CannotShard(
            f"{text} is neither a torch.nn.Module nor a function that returns one; {_FORM}"
        )
    factory: Factory = found
    return factory


def build(factory: Factory, given: Mapping[str, InputSpec]) -> tuple[nn.Module, list[InputSpec]]:
    """The module, ready to answer, and its inputs in the order of ``forward``.

    The factory returns the module, or the module and sample inputs: one tensor, several, or a
    dict by name. *given* says more of an input, or all where there are no samples.

    Raises:
        CannotShard: it returns something else, or too little is known of the inputs.
    """
    try:
        made = factory()
    except MemoryError:
        raise
    except Exception as error:
        raise CannotShard(f"the factory fails: {_text_of(error)}") from error
    module, samples = made if isinstance(made, tuple) and len(made) == 2 else (made, ())
    if not isinstance(module, nn.Module):
        raise CannotShard(
            f"the factory returned {type(made).__name__}, not a torch.nn.Module "
            "(or a module and its sample inputs); correct it"
        )
    parameters = inspect.signature(module.forward).parameters
    specs = _sample_specs(samples, list(parameters))
    reject_unknown(given, parameters)
    specs.update({name: _batched(spec) for name, spec in given.items()})
    unspecified = [n for n, one in parameters.items() if _is_needed(one) and n not in specs]
    if unspecified or not specs:
        names = ", ".join(unspecified or parameters)
        raise CannotShard(f"nothing tells how these inputs look: {names}; {HOW}")
    return module.eval().cpu(), [specs[name] for name in parameters if name in specs]


def to_tensor(array: Array, datatype: str) -> torch.Tensor:
    """*array* as torch sees it; the bits of BF16 become numbers."""
    if datatype == "BF16":
        return torch.from_numpy(array.view(np.int16).copy()).view(torch.bfloat16)
    return torch.from_numpy(array.astype(NUMPY_TYPES[datatype]))


def to_array(tensor: torch.Tensor) -> Array:
    """The opposite of `to_tensor`."""
    tensor = tensor.detach().cpu().contiguous()
    if tensor.dtype == torch.bfloat16:
        return np.asarray(tensor.view(torch.int16).numpy()).view(np.uint16)
    return np.asarray(tensor.numpy())


def _sample_specs(samples: Any, parameters: Sequence[str]) -> dict[str, InputSpec]:
    if isinstance(samples, torch.Tensor):
        samples = (samples,)
    named = (
        samples if isinstance(samples, Mapping) else dict(zip(parameters, samples, strict=False))
    )
    specs = {}
    for name, tensor in named.items():
        if not isinstance(tensor, torch.Tensor) or name not in parameters:
            raise CannotShard(
                f"the factory's sample for '{name}' is not a tensor that forward takes; its "
                f"arguments are {', '.join(parameters)}, and each must be one tensor"
            )
        datatype = DATATYPE_NAMES.get(str(tensor.dtype))
        if datatype is None:
            raise CannotShard(
                f"the sample for '{name}' is {tensor.dtype}, which the protocol cannot carry; "
                "let forward take one of its datatypes and convert it"
            )
        shape = (None, *tensor.shape[1:]) if tensor.ndim else ()
        specs[name] = InputSpec(name, datatype, shape, to_array(tensor))
    return specs


def _is_needed(parameter: inspect.Parameter) -> bool:
    named = (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    return parameter.kind in named and parameter.default is parameter.empty


def _text_of(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _batched(spec: InputSpec) -> InputSpec:
    """A sample from a file has the batch in front."""
    if spec.array is None or not spec.shape:
        return spec
    return InputSpec(spec.name, spec.datatype, (None, *spec.shape[1:]), spec.array)
