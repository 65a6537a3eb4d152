"""Alerts of the gateway: nginx, certificates, teams."""

from __future__ import annotations

from ingot.monitoring.rules.rule import CHANGE, Group, Purpose, Rule, Severity

_DAY_S = 86400

ALERTS = (
    Rule(
        "IngotNginxDown",
        Severity.CRITICAL,
        "ingot_nginx_up == 0",
        60,
        "nginx of {{ $labels.host }} does not answer.",
        "Run `nginx -t` and `systemctl status nginx` there; deploy again.",
        CHANGE,
    ),
    Rule(
        "IngotConnectionsDropped",
        Severity.WARNING,
        "increase(ingot_nginx_connections_accepted_total[10m]) "
        "- increase(ingot_nginx_connections_handled_total[10m]) > 0.5",
        0,
        'nginx of {{ $labels.host }} dropped {{ $value | printf "%.0f" }} connections.',
        "It ran out of worker connections or file descriptors: its error log says which.",
    ),
    Rule(
        "IngotTeamRefusedOften",
        Severity.WARNING,
        'sum by (host, team) (increase(ingot_gateway_requests_total{team!="", status="429"}[10m])) > 20 and '
        'sum by (host, team) (increase(ingot_gateway_requests_total{team!="", status="429"}[10m])) > '
        "0.2 * sum by (host, team) (increase(ingot_gateway_requests_total[10m]))",
        300,
        'Team {{ $labels.team }} is refused on {{ $labels.host }}: {{ $value | printf "%.0f" }} answers of 429 in 10 '
        "minutes.",
        "`ingot usage --by team,key` shows who asks; raise the team's limits, or ask it to heed Retry-After.",
    ),
    Rule(
        "IngotKeysTried",
        Severity.WARNING,
        'sum by (host) (increase(ingot_gateway_requests_total{status="401"}[10m])) > 100',
        0,
        '{{ $labels.host }} refused {{ $value | printf "%.0f" }} requests without a key that works in 10 minutes.',
        "The access log names the addresses: a client with an old key, or somebody who tries keys.",
    ),
    Rule(
        "IngotCertificateEnds",
        Severity.CRITICAL,
        f"ingot_certificate_not_after_seconds - time() < {3 * _DAY_S}",
        600,
        "Certificate {{ $labels.file }} of {{ $labels.host }} ends in {{ $value | humanizeDuration }}.",
        "Deploy the host: certificates of Ingot's CA renew themselves; put a new file in place of one of yours.",
        frozenset({Purpose.DECOMMISSION}),
    ),
    Rule(
        "IngotCertificateEndsSoon",
        Severity.WARNING,
        f"ingot_certificate_not_after_seconds - time() < {21 * _DAY_S}",
        3600,
        "Certificate {{ $labels.file }} of {{ $labels.host }} ends in {{ $value | humanizeDuration }}.",
        "A deploy renews it from 30 days before its end: the host was not deployed since, or the file is yours.",
        frozenset({Purpose.DECOMMISSION}),
    ),
    Rule(
        "IngotBudgetUsedUp",
        Severity.WARNING,
        'ingot_team_budget_used_tokens{period=~"day|month"} >= ingot_team_budget_tokens',
        0,
        "Team {{ $labels.team }} has used up its tokens of the {{ $labels.period }} on {{ $labels.host }}.",
        "Its callers get 429 until the period ends; raise the budget in `teams` and deploy, or let it be.",
    ),
    Rule(
        "IngotBudgetNearEnd",
        Severity.WARNING,
        'ingot_team_budget_used_tokens{period=~"day|month"} / ingot_team_budget_tokens > 0.9 '
        "unless ingot_team_budget_used_tokens >= ingot_team_budget_tokens",
        300,
        "Team {{ $labels.team }} has used {{ $value | humanizePercentage }} of its tokens of the {{ $labels.period }} "
        "on {{ $labels.host }}.",
        "Tell the team, or raise its budget in `teams` before it is refused.",
    ),
)

GROUPS = (Group("ingot-gateway", ALERTS),)
