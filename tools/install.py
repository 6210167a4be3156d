"""Installs packages into this environment: by uv, told what pip is told; by pip where that fails.

    python tools/install.py -e '.[dev]'

uv unpacks several packages at a time, and takes what it has unpacked once from its cache, so that
a new environment takes seconds instead of minutes. It does not read pip's settings by itself:
where packages come from, and which are taken, must not depend on who installs them.
"""

import ast
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

PIP: Final = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
UV: Final = Path(sys.executable).with_name("uv")

_TOLD: Final = {
    "find-links": "--find-links",
    "index-url": "--default-index",
    "extra-index-url": "--index",
    "constraint": "--constraint",
}
"""A setting of pip, and the option of uv that says the same."""

_CERTIFICATES: Final = "cert"
_SECTIONS: Final = ("global", "install", ":env:")
"""Of pip's settings, each over the one before; there are others, which are for other commands."""


def options_from(listed: str) -> tuple[list[str], dict[str, str]]:
    """Options and variables for uv, from what ``pip config list`` prints."""
    lines = [line.partition("=") for line in listed.splitlines()]
    given = {name: str(ast.literal_eval(value)) for name, separator, value in lines if separator}
    found: dict[str, str] = {}
    for section in _SECTIONS:
        start = f"{section}."
        found |= {n.removeprefix(start): v for n, v in given.items() if n.startswith(start)}
    options = [
        word
        for name, option in _TOLD.items()
        for value in found.get(name, "").split()
        for word in (option, value)
    ]
    if "extra-index-url" in found:
        # As pip has it: the best version, wherever it is.
        options += ["--index-strategy", "unsafe-best-match"]
    cert = found.get(_CERTIFICATES)
    return options, {} if cert is None else {"SSL_CERT_FILE": cert}


def main(wanted: Sequence[str]) -> int:
    """Install *wanted*, as pip's command line has it; the exit status of whoever did it last."""
    listed = subprocess.run(
        [*PIP, "config", "list"], stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    options, variables = options_from(listed)
    had = (
        UV.exists()
        or not subprocess.run([*PIP, "install", "--quiet", "uv"], check=False).returncode
    )
    if had:
        words = [
            str(UV),
            "pip",
            "install",
            "--quiet",
            "--python",
            sys.executable,
            *options,
            *wanted,
        ]
        if not subprocess.run(words, env={**os.environ, **variables}, check=False).returncode:
            return 0
        print("uv could not install it: pip goes on", file=sys.stderr)
    # What is imported is compiled then: most of torch and of the tools never is.
    words = [*PIP, "install", "--quiet", "--no-compile", *wanted]
    return subprocess.run(words, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
