"""Units of systemd: that it takes them, and how little they may."""

import sys
import tempfile
from pathlib import Path

from deploy_check.check import DEPLOY, Check, Wrong, output_of, require
from deploy_check.running.engine import needed
from penstock.scheduler.store.embedded import valkey_binary

UNITS = sorted((DEPLOY / "systemd").glob("penstock*"))
# What it does not know is a warning, on the other output.
_VERIFY = 'exec systemd-analyze verify --man=no --recursive-errors=one "$@" 2>&1'
_MOST_EXPOSED = 2.0
"""On systemd's scale from 0 to 10, of which 2 and less is its best grade."""


def _verified() -> str:
    """Whether systemd takes them, with programs that are here in the place of those installed."""
    needed("systemd-analyze")
    programs = {
        "/opt/penstock/bin/penstock": str(Path(sys.executable).with_name("penstock")),
        "/usr/bin/valkey-server": str(valkey_binary()),
    }
    with tempfile.TemporaryDirectory(prefix="penstock-units-") as name:
        copies = []
        for unit in UNITS:
            if unit.suffix in (".service", ".target"):
                text = unit.read_text()
                for installed, here in programs.items():
                    text = text.replace(installed, here)
                copies.append(Path(name) / unit.name)
                copies[-1].write_text(text)
        told = output_of("sh", "-c", _VERIFY, "sh", *copies)
    require([line for line in told.splitlines() if line])
    output_of("systemd-sysusers", "--dry-run", DEPLOY / "systemd" / "penstock.sysusers")
    return f"{len(copies)} units"


def _exposed() -> str:
    needed("systemd-analyze")
    faults = []
    services = [unit for unit in UNITS if unit.suffix == ".service"]
    for unit in services:
        threshold = f"--threshold={round(_MOST_EXPOSED * 10)}"
        try:
            output_of("systemd-analyze", "security", "--offline=true", threshold, unit)
        except Wrong as wrong:
            faults.append(f"{unit.name} may more than it must (above {_MOST_EXPOSED}): {wrong}")
    require(faults)
    return f"{len(services)} services"


CHECKS = (
    Check("units of systemd are taken (systemd-analyze verify)", _verified),
    Check("units of systemd may little (systemd-analyze security)", _exposed),
)
