"""Rules and boards: they parse, alerts fire, runbooks are there, metrics exist."""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from deploy_check import fetched
from deploy_check.check import DEPLOY, ROOT, Check, output_of, require
from deploy_check.files import boards

RULES = DEPLOY / "prometheus/penstock.yaml"
_TESTS = DEPLOY / "prometheus/penstock_test.yaml"
_RUNBOOKS = ROOT / "docs/operations/alerts.md"
_METRICS = ROOT / "docs/metrics.md"
_NAME = re.compile(r"\b(?:penstock|nv)_\w+")
_PARTS = re.compile(r"_(?:bucket|sum|count)$")


def rules() -> Iterator[dict[str, Any]]:
    """All rules, in order."""
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        yield from group["rules"]


def board_expressions() -> Iterator[tuple[str, str]]:
    """Where each expression of a board stands, and the expression, for any job and model."""
    for board in boards().BOARDS:
        for panel in board.panels:
            for expression, _ in panel.queries:
                yield f"{board.name}, {panel.title}", _filled(expression)


def _filled(expression: str) -> str:
    for name, value in (("$__rate_interval", "1m"), ("$job", ".*"), ("$model", ".*")):
        expression = expression.replace(name, value)
    return expression


def _parse() -> str:
    output_of(fetched.promtool(), "check", "rules", RULES)
    expressions = list(board_expressions())
    records = [
        {"record": f"board:{number}", "expr": expression}
        for number, (_, expression) in enumerate(expressions)
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "boards.yaml"
        path.write_text(yaml.safe_dump({"groups": [{"name": "boards", "rules": records}]}))
        output_of(fetched.promtool(), "check", "rules", path)
    return f"{len(list(rules()))} rules, {len(expressions)} expressions of boards"


def _fire() -> str:
    output_of(fetched.promtool(), "test", "rules", _TESTS, at=_TESTS.parent)
    names = {one["alert"] for one in rules() if "alert" in one}
    asked = [
        (rule["alertname"], bool(rule["exp_alerts"]))
        for test in yaml.safe_load(_TESTS.read_text())["tests"]
        for rule in test.get("alert_rule_test", ())
    ]
    require([f"{name} has no test in which it fires" for name in names - _those(asked, fires=True)])
    require(
        [f"{name} has no test in which it is quiet" for name in names - _those(asked, fires=False)]
    )
    return f"{len(names)} alerts, {len(asked)} tests"


def _those(asked: list[tuple[str, bool]], *, fires: bool) -> set[str]:
    return {name for name, fired in asked if fired is fires}


def _runbooks() -> str:
    text = _RUNBOOKS.read_text()
    headings = set(re.findall(r"^## (\w+)$", text, re.MULTILINE))
    alerts = {one["alert"]: one for one in rules() if "alert" in one}
    require(
        [f"{name} has no runbook in {_RUNBOOKS.name}" for name in sorted(set(alerts) - headings)]
    )
    require([f"the runbook {name} is for no alert" for name in sorted(headings - set(alerts))])
    faults = []
    for name, alert in alerts.items():
        link = f"{_RUNBOOKS.relative_to(ROOT)}#{name.lower()}"
        if alert["annotations"].get("runbook") != link:
            faults.append(f"{name}: its runbook shall be {link}")
        if alert["labels"].get("severity") not in {"critical", "warning", "info"}:
            faults.append(f"{name}: its severity is none")
    require(faults)
    return f"{len(alerts)} runbooks"


def _known_metrics() -> str:
    """What rules and boards ask for is what docs/metrics.md tells of."""
    known = {_PARTS.sub("", name) for name in _NAME.findall(_METRICS.read_text())}
    asked = {(one.get("alert") or one["record"], one["expr"]) for one in rules()}
    asked |= set(board_expressions())
    faults = [
        f"{where}: no such metric: {name}"
        for where, expression in sorted(asked)
        for name in _NAME.findall(expression)
        if _PARTS.sub("", name) not in known and name not in known
    ]
    require(faults)
    return f"{len(asked)} expressions"


CHECKS = (
    Check("rules and boards parse", _parse),
    Check("each alert fires, and is quiet, in a test", _fire),
    Check("each alert has a runbook", _runbooks),
    Check("rules and boards ask for metrics that there are", _known_metrics),
)
