"""Environments of the peers: each has its own, downloaded the first time that it is needed."""

import subprocess
import sys
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
FOLDER: Final = HERE.parents[1] / ".peers"

_ONNX: Final = "onnxruntime==1.31.1"
REQUIREMENTS: Final = {
    "Triton": ("nvidia-pytriton==0.7.0", "numpy<2", _ONNX),
    "KServe": ("kserve==0.21.0", _ONNX),
    "MLServer": ("mlserver==1.7.1", "uvloop<0.22", _ONNX),
    "mosec": ("mosec==0.9.8", "numpy", _ONNX),
}
"""By the peer's name; all run their models with the same release of ONNX Runtime."""

_OF_LANGUAGE: Final = {"llama.cpp": ("xllamacpp==2026.10.11549",)}

_MOST_S: Final = 900.0


class NotInstalled(RuntimeError):
    """A peer is not here, and cannot be had."""


def environment(name: str) -> Path:
    """The folder of a peer's environment; it is made when it is not there.

    Raises:
        NotInstalled: with pip's last words.
    """
    folder = FOLDER / name.lower()
    if (folder / "complete").exists():
        return folder
    try:
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=_MOST_S)
        installed = subprocess.run(
            [
                *(str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"),
                *("install", "--quiet", *(REQUIREMENTS | _OF_LANGUAGE)[name]),
            ],
            check=False,
            timeout=_MOST_S,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise NotInstalled(str(error)) from error
    if installed.returncode:
        lines = [line for line in installed.stdout.splitlines() if line.startswith("ERROR")]
        raise NotInstalled(lines[-1] if lines else installed.stdout[-200:])
    (folder / "complete").touch()
    return folder


def site_packages(folder: Path) -> Path:
    """Where an environment's packages are."""
    return next(folder.glob("lib/python3.*/site-packages"))
