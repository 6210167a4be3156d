"""What is installed: wheels that are locked by hash, and Penstock's own, built from this tree."""

import hashlib
import shutil
import sys
from pathlib import Path

from images.locks import TARGETS, lock_of
from images.steps import IMAGES, ROOT, pip, run

__all__ = ["TARGETS", "gather"]


def gather(target: str, folder: Path, date: str) -> None:
    """Put into *folder* all that the image *target* is made of.

    Raises:
        Failed: a registry cannot be reached, or has another file than was locked.
    """
    # Where the recipe looks for it, as in a checkout.
    folder = folder / "deploy" / "images"
    folder.mkdir(parents=True)
    wheels = ("--only-binary", ":all:", "--no-deps", "--require-hashes", "--dest", folder)
    for locked in (IMAGES / "requirements" / "pip.txt", lock_of(target)):
        pip("download", "--quiet", *wheels, "--requirement", locked)
    shutil.copy(lock_of(target), folder / "requirements.txt")
    shutil.copy(IMAGES / "install.py", folder)
    (folder / "target").write_text(target)
    wheel = _own_wheel(folder, date)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    version = wheel.name.split("-")[1]
    (folder / "penstock.txt").write_text(f"penstock=={version} --hash=sha256:{digest}\n")


def _own_wheel(folder: Path, date: str) -> Path:
    built = folder / "built"
    # setuptools collects into build/ and never forgets a file that has gone.
    shutil.rmtree(ROOT / "build", ignore_errors=True)
    run(
        *(sys.executable, "-m", "build", "--outdir", built, ROOT),
        env={"SOURCE_DATE_EPOCH": date},
    )
    (wheel,) = built.glob("*.whl")
    moved = wheel.rename(folder / wheel.name)
    shutil.rmtree(built)
    return moved
