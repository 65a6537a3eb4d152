"""A team: what it asks, how it is answered, and how much of its budget is left."""

from __future__ import annotations

from ingot.monitoring.dashboards.panel import HOST, Dashboard, Panel, Query, Row, Shape, Unit, number, one, quantiles
from ingot.monitoring.dashboards.panel import TEAM as TEAM_VARIABLE

_T = 'host=~"$host", team=~"$team"'
_REQUESTS = f"ingot_gateway_requests_total{{{_T}}}"
_BUDGET = f"ingot_team_budget_used_tokens{{{_T}}} / ingot_team_budget_tokens{{{_T}}}"

TEAM = Dashboard(
    "team",
    "Team",
    "Callers by team, from the gateway's log. What each used and what it cost: `ingot usage`.",
    (
        Row(
            "Now",
            (
                number("Requests per s", f"sum(rate({_REQUESTS}[$__rate_interval]))", Unit.PER_S),
                number(
                    "Refused (429), 1 h",
                    f'sum(increase(ingot_gateway_requests_total{{status="429", {_T}}}[1h])) or vector(0)',
                ),
                number(
                    "Failed (5xx), 1 h",
                    f'sum(increase(ingot_gateway_requests_total{{status=~"5..", {_T}}}[1h])) or vector(0)',
                ),
            ),
        ),
        Row(
            "Requests",
            (
                one("By team", f"sum by (team) (rate({_REQUESTS}[$__rate_interval]))", Unit.PER_S, "{{team}}"),
                one(
                    "By model",
                    f"sum by (team, model) (rate({_REQUESTS}[$__rate_interval]))",
                    Unit.PER_S,
                    "{{team}} {{model}}",
                ),
                one(
                    "By status",
                    f"sum by (team, status) (rate({_REQUESTS}[$__rate_interval]))",
                    Unit.PER_S,
                    "{{team}} {{status}}",
                ),
                quantiles("First byte", "ingot_gateway_first_byte_seconds", "team", _T),
                Panel("Budget used", (Query(_BUDGET, "{{team}} {{period}}"),), Unit.SHARE, Shape.BARS, most=1),
                one("Budget over time", _BUDGET, Unit.SHARE, "{{team}} {{period}}"),
            ),
        ),
    ),
    (HOST, TEAM_VARIABLE),
)
