"""Prove the wheel: build the sdist, the wheel from it, install that elsewhere, and import it.

The wheel must hold the four packages that the source tree only links to, and every data file; an
editable install would hide their absence. It must go together with Triton's client. Both are left
in ``dist/``.
"""

import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"

_LIGHT = "import penstock.client"
_ROLES = """
import penstock.gateway.app, penstock.scheduler.app, penstock.client
import penstock.workers.app, penstock.workers.node.agent
from importlib import resources
from penstock.scheduler.store import scripts
found = sorted(p.name for p in (resources.files("penstock.scheduler") / "lua").iterdir())
assert [scripts.load(n[:-4]) for n in found if n.endswith(".lua")], found
for name in ("gateway", "scheduler", "workers", "protos"):
    try:
        __import__(name)
    except ModuleNotFoundError:
        continue
    raise SystemExit(f"the wheel installs a bare package {name!r}")
"""


def main() -> None:
    """Build, install and import; the exit status is the verdict."""
    shutil.rmtree(DIST, ignore_errors=True)
    # setuptools collects into build/ and never forgets a file that has gone.
    shutil.rmtree(ROOT / "build", ignore_errors=True)
    _run(sys.executable, "-m", "build", "--outdir", str(DIST), str(ROOT))
    (wheel,) = DIST.glob("*.whl")
    with tempfile.TemporaryDirectory(prefix="penstock-wheel-") as folder:
        elsewhere = Path(folder)
        venv.create(elsewhere / "venv")
        python = str(elsewhere / "venv" / "bin" / "python")
        # Our pip, on that environment: to install another one, and to compile what is imported
        # once at most, would take as long as all the rest.
        pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python)
        install = (*pip, "install", "--quiet", "--no-compile")
        _run(*install, str(wheel), at=elsewhere)
        _run(python, "-c", _LIGHT, at=elsewhere)
        _run(*install, f"penstock[server] @ {wheel.as_uri()}", at=elsewhere)
        _run(python, "-c", _ROLES, at=elsewhere)
        _run(python, "-m", "penstock", "--version", at=elsewhere)
        # As its users do: later, and beside what is there.
        _run(*install, "tritonclient[grpc]", at=elsewhere)
        _run(*pip, "check", at=elsewhere)
        _run(python, "-c", f"{_ROLES}import tritonclient.grpc", at=elsewhere)
    print(f"{wheel.name}: installed and imported from another directory")


def _run(*command: str, at: Path = ROOT) -> None:
    finished = subprocess.run(
        command, cwd=at, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    if finished.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{finished.stdout}{finished.stderr}")


if __name__ == "__main__":
    main()
