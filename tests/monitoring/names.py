"""Every name that a rule or a panel may read: Ingot's own, and those that exporters and engines were seen to have."""

from __future__ import annotations

import re
from pathlib import Path

from ingot.monitoring.metrics import CATALOGUE, FROM_DCGM, ONLY_FROM_DCGM
from ingot.monitoring.rules.baseline import BASE, EACH, MOST, PROMPTS
from ingot.monitoring.rules.catalogue import groups
from ingot.monitoring.rules.rule import Recording

_CAPTURES = Path(__file__).parent / "captures"
#: What Prometheus itself adds.
_BUILT_IN = {"up", "ALERTS"}
#: Words of PromQL that stand where a name may stand.
_WORDS = {"and", "or", "unless", "offset", "time"}


def known() -> set[str]:
    """All names."""
    captured = {
        line
        for path in _CAPTURES.glob("*.txt")
        for line in path.read_text(encoding="utf-8").splitlines()
        if not line.startswith("#")
    }
    ours = {series for one in CATALOGUE for series in one.series} | set(ONLY_FROM_DCGM)
    dcgm = {field for field, _ in (FROM_DCGM | ONLY_FROM_DCGM).values()}
    recorded = {rule.record for group in groups() for rule in group.rules if isinstance(rule, Recording)}
    return captured | ours | dcgm | recorded | {BASE, EACH, MOST, PROMPTS} | _BUILT_IN


def named(expr: str) -> set[str]:
    """The metrics that an expression reads."""
    # Labels, strings, windows and the lists of by, on and group_left are no names of metrics.
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\"[^\"]*\"", "", expr)
    bare = re.sub(r"\b(by|on|ignoring|group_left|without)\s*\([^)]*\)", "", bare)
    found = re.findall(r"(?<![\w:$])([a-zA-Z_][\w:]*)(?!\s*\()(?![\w:])", bare)
    return {name for name in found if name not in _WORDS and ("_" in name or ":" in name or name in _BUILT_IN)}
