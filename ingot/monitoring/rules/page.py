"""The alerts as a page of documentation: `python -m ingot.monitoring.rules.page > docs/alerts.md`."""

from __future__ import annotations

import re

from ingot.monitoring.rules.catalogue import groups
from ingot.monitoring.rules.rule import Rule

_TITLES = {
    "ingot-gpu": "GPUs and their driver",
    "ingot-engine": "Replicas and engines",
    "ingot-bench": "Speed beside the benchmark",
    "ingot-slo": "Service levels",
    "ingot-gateway": "Gateway",
    "ingot-host": "Host",
    "ingot-watching": "Monitoring itself",
}
_INTRODUCTION = """# Alerts

What each alert means, and what to do. `ingot alerts` lists what fires. This page is made of the rules by
`python -m ingot.monitoring.rules.page`; a test compares both.

- **critical** wakes somebody: callers are hurt, or will be within hours. **warning** is for working hours. **info**
  gives no notice and explains others.
- *Held back during*: no notice while a run of that purpose holds the host.
"""


def alerts_page() -> str:
    """The page, in Markdown."""
    parts = [_INTRODUCTION]
    for group in groups():
        rules = [rule for rule in group.rules if isinstance(rule, Rule)]
        if rules:
            parts.append(f"## {_TITLES[group.name]}\n")
            parts += [_entry(rule) for rule in rules]
    return "\n".join(parts)


def _entry(rule: Rule) -> str:
    hushed = f" Held back during {', '.join(sorted(rule.hushed_by))}." if rule.hushed_by else ""
    wait = f", for {_duration(rule.for_s)}" if rule.for_s else ", at once"
    return (
        f"### {rule.name}\n\n"
        f"*{rule.severity}*{wait}. {_said(rule.summary)}{hushed}\n\n"
        f"{rule.action}\n\n"
        f"```promql\n{rule.expr}\n```\n"
    )


def _said(summary: str) -> str:
    """The sentence with words in capitals where an alert names a thing."""
    shown = re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda found: found.group(1).upper(), summary)
    return re.sub(r"\{\{ \$value[^}]* \}\}", "N", shown)


def _duration(seconds: int) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds % size == 0:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


if __name__ == "__main__":
    print(alerts_page(), end="")
