"""One image, from its parts to an archive with a list of them."""

import tarfile
import tempfile
import tomllib
from pathlib import Path
from typing import NamedTuple

from deploy_check.fetched import syft

from images import base, contents
from images.steps import IMAGES, ROOT, run, source_date


class Image(NamedTuple):
    """What was built: its *name*, *digest*, *archive* (OCI), and the list of its *parts* (SPDX)."""

    name: str
    digest: str
    archive: Path
    parts: Path


def name_of(target: str) -> str:
    """What the image *target* is called where nobody says otherwise."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    return f"localhost/penstock-{target}:{version}"


def build_image(
    target: str, below: str | None = None, name: str | None = None, out: Path = ROOT / ".images"
) -> Image:
    """Build *target* on the image *below*, or on the base, which is built first.

    Raises:
        Failed: a program is missing, or a registry cannot be reached.
        Wrong: the program that lists parts cannot be fetched.
    """
    date, name = source_date(), name or name_of(target)
    if below is None:
        base.build_base(date)
    with tempfile.TemporaryDirectory(prefix="penstock-image-") as folder:
        contents.gather(target, Path(folder), date)
        recipe, chosen = IMAGES / "Containerfile", f"BASE={below or base.NAME}"
        base.build(Path(folder), recipe, name, date, "--target", target, "--build-arg", chosen)
    out.mkdir(parents=True, exist_ok=True)
    archive, digest = out / f"{target}.tar", out / f"{target}.digest"
    archive.unlink(missing_ok=True)
    run("buildah", "push", "--digestfile", digest, name, f"oci-archive:{archive}:{name}")
    parts = out / f"{target}.spdx.json"
    _list_parts(archive, name, parts)
    return Image(name, digest.read_text().strip(), archive, parts)


def _list_parts(archive: Path, name: str, parts: Path) -> None:
    """Have syft list what *archive* is made of.

    It is unpacked for that: packed, syft reads no layer of more than 2 GiB.
    """
    with tempfile.TemporaryDirectory(prefix="parts-", dir=archive.parent) as folder:
        with tarfile.open(archive) as packed:
            packed.extractall(folder, filter="data")
        told = ("--source-name", name, "--output", f"spdx-json={parts}")
        run(syft(), "--quiet", f"oci-dir:{folder}", *told)
