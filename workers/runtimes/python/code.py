"""The code of a Python model: imported from its file, its class made and checked.

Whatever is wrong with it is told with the line of the model's own code where it came up.
"""

import importlib.util
import inspect
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from penstock.errors import ArtifactUnusable, first_line

CLASS: Final = "Model"
"""The name of the class in the file."""

TRITONS_CLASS: Final = "TritonPythonModel"
"""The same in a file that is written for Triton."""


def is_tritons(artifact: Path) -> bool:
    """Whether a file is written for Triton's contract: it speaks of its class."""
    return TRITONS_CLASS.encode() in artifact.read_bytes()


def model_of(artifact: Path, *, decoupled: bool) -> Any:
    """An instance of the class in *artifact*; modules and files beside it can be imported.

    Args:
        decoupled: its `execute` may yield.

    Raises:
        ArtifactUnusable: the file cannot be imported, or its class is not what it should be.
    """
    # The repository may be read-only, and belongs to somebody else in any case.
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(artifact.parent))
    cls = _class_in(_imported(artifact), artifact)
    for method, arguments in {"execute": (None, None), "load": (None,), "unload": ()}.items():
        _check_method(cls, method, arguments, artifact)
    if inspect.isgeneratorfunction(cls.__dict__.get("execute")) and not decoupled:
        raise ArtifactUnusable(
            f"{artifact.name}: {CLASS}.execute yields, which only a decoupled model does: return a "
            "dict, or say model_transaction_policy { decoupled: true } in config.pbtxt"
        )
    try:
        return cls()
    except (Exception, SystemExit) as error:
        raise ArtifactUnusable(f"{artifact.name}: {CLASS}() {raised(error, artifact)}") from error


def raised(error: BaseException, artifact: Path) -> str:
    """What *error* is, in one line, with the last line of the model's own code on its way."""
    text = first_line(error)
    text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    if isinstance(error, SyntaxError) and error.filename:
        return f"raised {type(error).__name__}: {error.msg}" + _at(error.filename, error.lineno)
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if Path(frame.filename).is_relative_to(artifact.parent):
            return f"raised {text}" + _at(frame.filename, frame.lineno)
    return f"raised {text}"


def _at(filename: str, line: int | None) -> str:
    return f" ({Path(filename).name}, line {line})"


def _imported(artifact: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(artifact.stem, artifact)
    if spec is None or spec.loader is None:
        raise ArtifactUnusable(f"{artifact.name} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    # Before it is run, as Python does: dataclasses look themselves up there.
    sys.modules[artifact.stem] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise ArtifactUnusable(
            f"{artifact.name} cannot be imported: it {raised(error, artifact)}"
        ) from error
    return module


def _class_in(module: ModuleType, artifact: Path) -> type:
    cls = getattr(module, CLASS, None)
    if isinstance(cls, type):
        return cls
    own = [
        name
        for name, value in vars(module).items()
        if isinstance(value, type) and value.__module__ == module.__name__
    ]
    there = f"it has {', '.join(own)}" if own else "it has no class"
    raise ArtifactUnusable(f"{artifact.name} must have a class {CLASS}; {there}")


def _check_method(cls: type, name: str, arguments: tuple[object, ...], artifact: Path) -> None:
    method = getattr(cls, name, None)
    if method is None and name != "execute":
        return
    expected = {"execute": "(self, inputs, parameters)", "load": "(self, context)"}
    wanted = f"{CLASS}.{name}{expected.get(name, '(self)')}"
    if not callable(method):
        raise ArtifactUnusable(f"{artifact.name}: {CLASS} must have a method {wanted}")
    if inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method):
        raise ArtifactUnusable(f"{artifact.name}: {wanted} must not be async")
    try:
        inspect.signature(method).bind(None, *arguments)
    except TypeError as error:
        raise ArtifactUnusable(
            f"{artifact.name}: {CLASS}.{name}{inspect.signature(method)} must be {wanted}"
        ) from error
