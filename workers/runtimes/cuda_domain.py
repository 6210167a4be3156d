"""What decides the bits of what a GPU computes: its kind, its driver, and CUDA's libraries."""

import contextlib
import ctypes
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from penstock.process import machine
from penstock.workers.runtimes.pinned import loaded_library

_PROPERTIES: Final = range(3)
"""Major, minor and patch, as CUDA's libraries number them."""


def cuda_domain(index: int, *, tf32: bool) -> str:
    """GPU number *index* of those that this process sees, and what computes on it.

    As far as it is known: driver and libraries that do not tell their versions are left out.

    Args:
        tf32: what is multiplied may be rounded to 19 bits.
    """
    import onnxruntime

    gpus = {gpu.number: gpu.name for gpu in machine.gpus()}
    driver = machine.gpu_driver()
    parts = [
        gpus.get(index, "a GPU"),
        *([f"driver {driver}"] if driver else ()),
        *library_versions(loaded_library),
        f"ONNX Runtime {onnxruntime.__version__}",
        *(["TF32"] if tf32 else ()),
    ]
    return ", ".join(parts)


def library_versions(load: Callable[[str], Any]) -> Iterator[str]:
    """Of CUDA's runtime, cuBLAS and cuDNN, those that are there and tell.

    Args:
        load: gets the beginning of a library's name; None where this process does not use it.
    """
    for name, (library, version_of) in _LIBRARIES.items():
        loaded = load(library)
        # One that lacks a function has no attribute of that name.
        with contextlib.suppress(AttributeError):
            if loaded is not None:
                yield f"{name} {version_of(loaded)}"


def _of_cuda(library: Any) -> str:
    number = ctypes.c_int()
    library.cudaRuntimeGetVersion(ctypes.byref(number))
    return f"{number.value // 1000}.{number.value % 1000 // 10}"


def _of_cublas(library: Any) -> str:
    numbers = [ctypes.c_int() for _ in _PROPERTIES]
    for which, number in zip(_PROPERTIES, numbers, strict=True):
        library.cublasGetProperty(which, ctypes.byref(number))
    return ".".join(str(number.value) for number in numbers)


def _of_cudnn(library: Any) -> str:
    library.cudnnGetVersion.restype = ctypes.c_size_t
    return str(library.cudnnGetVersion())


_LIBRARIES: Final[Mapping[str, tuple[str, Callable[[Any], str]]]] = {
    "CUDA": ("libcudart.so", _of_cuda),
    "cuBLAS": ("libcublas.so", _of_cublas),
    "cuDNN": ("libcudnn.so", _of_cudnn),
}
