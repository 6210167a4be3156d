"""Files in ``deploy/`` that follow from others: written by ``--write``, and compared."""

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from deploy_check import kustomize
from deploy_check.check import DEPLOY, ROOT, Check, require

_CHART = DEPLOY / "chart"


def boards() -> ModuleType:
    """The boards' code."""
    sys.path.insert(0, str(DEPLOY / "grafana"))
    return importlib.import_module("boards")


def _made() -> Mapping[Path, str]:
    """What each file shall hold."""
    code = boards()
    found = {_CHART / f"dashboards/{one.name}.json": code.written(one) for one in code.BOARDS}
    # A chart has only what lies in it.
    found[_CHART / "rules/penstock.yaml"] = (DEPLOY / "prometheus/penstock.yaml").read_text()
    # Last: the chart is rendered with these.
    return found


def write() -> None:
    """Write them."""
    for made in (_made, kustomize.made):
        for path, text in made().items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)


def _no_drift() -> str:
    found = {**_made(), **kustomize.made()}
    wrong = [path for path, text in found.items() if not path.exists() or path.read_text() != text]
    names = [str(path.relative_to(ROOT)) for path in sorted(wrong)]
    require([f"{name} is not what follows: run make deploy-files" for name in names])
    return f"{len(found)} files"


CHECKS = (Check("what follows from other files is as it follows", _no_drift),)
