"""Dashboards as Grafana's JSON (schema 36, which Grafana 9 and later read and raise themselves)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ingot.monitoring.dashboards.panel import COLUMNS, Dashboard, Panel, Row, Shape, Variable

SCHEMA = 36
#: The data source is chosen in Grafana: its name there is the site's own.
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_HEIGHT = {Shape.LINES: 8, Shape.BARS: 8, Shape.TABLE: 7, Shape.NUMBER: 4}


def grafana_json(dashboard: Dashboard) -> str:
    """The file's text: sorted, so that a change shows as one."""
    return json.dumps(_dashboard(dashboard), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _dashboard(dashboard: Dashboard) -> dict[str, Any]:
    return {
        "annotations": {"list": []},
        "description": dashboard.about,
        "editable": True,
        "graphTooltip": 1,
        "links": [
            {
                "asDropdown": False,
                "icon": "external link",
                "includeVars": True,
                "keepTime": True,
                "tags": ["ingot"],
                "title": "Ingot",
                "type": "dashboards",
            }
        ],
        "panels": list(_panels(dashboard.rows)),
        "refresh": "30s",
        "schemaVersion": SCHEMA,
        "tags": ["ingot"],
        "templating": {"list": [_SOURCE_VARIABLE, *map(_variable, dashboard.variables)]},
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "title": f"Ingot / {dashboard.title}",
        "uid": f"ingot-{dashboard.name}",
    }


_SOURCE_VARIABLE = {
    "hide": 0,
    "label": "data source",
    "name": "datasource",
    "query": "prometheus",
    "refresh": 1,
    "type": "datasource",
}


def _variable(variable: Variable) -> dict[str, Any]:
    query = f"label_values({variable.metric}, {variable.label})"
    return {
        # Without it, all would be every value in one expression.
        "allValue": ".*",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "datasource": SOURCE,
        "definition": query,
        "includeAll": True,
        "label": variable.name,
        "multi": True,
        "name": variable.name,
        "query": {"query": query, "refId": variable.name},
        "refresh": 2,
        "sort": 1,
        "type": "query",
    }


def _panels(rows: tuple[Row, ...]) -> Iterator[dict[str, Any]]:
    """Panels from left to right, and a new line where one does not fit."""
    number, top = 0, 0
    for row in rows:
        number += 1
        yield {
            "collapsed": False,
            "gridPos": {"h": 1, "w": COLUMNS, "x": 0, "y": top},
            "id": number,
            "panels": [],
            "title": row.title,
            "type": "row",
        }
        top, left, tallest = top + 1, 0, 0
        for panel in row.panels:
            number += 1
            if left + panel.width > COLUMNS:
                top, left, tallest = top + tallest, 0, 0
            height = _HEIGHT[panel.shape]
            yield _panel(panel, number, {"h": height, "w": panel.width, "x": left, "y": top})
            left, tallest = left + panel.width, max(tallest, height)
        top += tallest


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    most = {} if panel.most is None else {"max": panel.most, "min": 0}
    custom = {"custom": {"fillOpacity": 10}}
    return {
        "datasource": SOURCE,
        "description": panel.about,
        "fieldConfig": {
            "defaults": {"unit": str(panel.unit), **most, **(custom if panel.shape is Shape.LINES else {})},
            "overrides": [],
        },
        "gridPos": place,
        "id": number,
        "options": _OPTIONS[panel.shape],
        "targets": [
            {
                "datasource": SOURCE,
                "expr": query.expr,
                "format": "table" if panel.shape is Shape.TABLE else "time_series",
                # Numbers, bars and tables are of now.
                "instant": panel.shape is not Shape.LINES,
                "legendFormat": query.legend or "__auto",
                "range": panel.shape is Shape.LINES,
                "refId": chr(ord("A") + place_of),
            }
            for place_of, query in enumerate(panel.queries)
        ],
        "title": panel.title,
        "type": str(panel.shape),
    }


_OPTIONS: dict[Shape, dict[str, Any]] = {
    Shape.LINES: {
        "legend": {"displayMode": "list", "placement": "bottom"},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    Shape.NUMBER: {"colorMode": "none", "graphMode": "none", "reduceOptions": {"calcs": ["lastNotNull"]}},
    Shape.BARS: {"orientation": "horizontal", "reduceOptions": {"calcs": ["lastNotNull"]}},
    Shape.TABLE: {"showHeader": True},
}
