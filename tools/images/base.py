"""The base: Python and what it links with, out of Debian's packages; no shell, no installer."""

import platform
import tempfile
from pathlib import Path

from images.steps import IMAGES, run

SUITE = "bookworm"
NAME = f"localhost/penstock-base:{SUITE}"

_PACKAGES = "python3.11-minimal,libpython3.11-stdlib,ca-certificates,libstdc++6"
_SOURCES = Path("/etc/apt")
# What this machine's apt was told of the way to its mirror.
_TOLD = ("Acquire::http", "Acquire::https", "Acquire::Check-", "Acquire::Retries")


def build_base(date: str) -> None:
    """Build the base, with files of this *date*, and name it `NAME`.

    The packages are those that its suite has now: with the same packages it is the same, byte for
    byte.

    Raises:
        Failed: a program is missing, or a mirror cannot be reached.
    """
    with tempfile.TemporaryDirectory(prefix="penstock-base-") as name:
        folder = Path(name)
        options = [f"--aptopt={line}" for line in _ways_to_the_mirror()]
        run(
            *("mmdebstrap", "--quiet", "--variant=extract", f"--include={_PACKAGES}"),
            *("--skip=cleanup,output/dev", f"--extract-hook={IMAGES / 'base.sh'}", *options),
            *(SUITE, str(folder / "base.tar"), *map(str, _sources())),
            env={"SOURCE_DATE_EPOCH": date},
        )
        (folder / "Containerfile").write_text("FROM scratch\nADD base.tar /\n")
        build(folder, folder / "Containerfile", NAME, date)


def build(context: Path, recipe: Path, name: str, date: str, *options: str) -> None:
    """Build an image that is called *name*; the same files make the same image."""
    run(
        *("buildah", "build", "--isolation", "chroot", "--no-cache", "--identity-label=false"),
        *("--timestamp", date, "--file", str(recipe), "--tag", name, *options, str(context)),
    )


def _ways_to_the_mirror() -> list[str]:
    told = run("apt-config", "dump").splitlines()
    return [line for line in told if line.startswith(_TOLD) and not line.endswith('"";')]


def _sources() -> list[Path]:
    """Where this machine has its packages from, if it is of the same suite; else Debian's own."""
    if platform.freedesktop_os_release().get("VERSION_CODENAME") != SUITE:
        return []
    lists = [_SOURCES / "sources.list", *sorted((_SOURCES / "sources.list.d").glob("debian*"))]
    return [file for file in lists if file.is_file() and file.suffix in (".list", ".sources")]
