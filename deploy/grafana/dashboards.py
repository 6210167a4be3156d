"""Grafana's dashboards: what a board says of itself, and the JSON that Grafana imports."""

import json
from typing import Any, Final, NamedTuple

_PANELS_A_ROW: Final = 2
_HEIGHT: Final = 8


class Panel(NamedTuple):
    """One plot.

    Attributes:
        queries: PromQL, and the legend of each.
        what: what it shows, and what is good; the panel's help.
    """

    title: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    what: str
    kind: str = "timeseries"


class Board(NamedTuple):
    """One board; *name* is its file's and its uid."""

    name: str
    title: str
    panels: tuple[Panel, ...]
    variables: tuple[str, ...] = ("job", "model")


def written(board: Board) -> str:
    """The board as Grafana imports it."""
    return json.dumps(_dashboard(board), indent=1) + "\n"


def _dashboard(board: Board) -> dict[str, Any]:
    return {
        "uid": board.name,
        "title": board.title,
        "tags": ["penstock"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [_datasource(), *map(_variable, board.variables)]},
        "panels": [_panel(at, panel) for at, panel in enumerate(board.panels)],
    }


def _datasource() -> dict[str, Any]:
    return {"name": "source", "type": "datasource", "query": "prometheus", "label": "Prometheus"}


def _variable(name: str) -> dict[str, Any]:
    metric = {"job": "penstock_build_info", "model": 'penstock_version_ready{job=~"$job"}'}[name]
    return {
        "name": name,
        "type": "query",
        "datasource": {"type": "prometheus", "uid": "${source}"},
        "query": {"query": f"label_values({metric}, {name})", "refId": name},
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def _panel(at: int, panel: Panel) -> dict[str, Any]:
    width = 24 // _PANELS_A_ROW
    return {
        "id": at + 1,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.what,
        "datasource": {"type": "prometheus", "uid": "${source}"},
        "gridPos": {
            "x": at % _PANELS_A_ROW * width,
            "y": at // _PANELS_A_ROW * _HEIGHT,
            "w": width,
            "h": _HEIGHT,
        },
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {"refId": chr(ord("A") + number), "expr": expr, "legendFormat": legend}
            for number, (expr, legend) in enumerate(panel.queries)
        ],
    }
