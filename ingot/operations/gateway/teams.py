"""The gateway's files about teams: keys as hashes, limits, and who may use which model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ingot.gateway import limits
from ingot.gateway.limits import RUNNING_RETRY_S
from ingot.gateway.routes import Route
from ingot.gateway.teams import Team
from ingot.gateway.upstreams import Engine, model_list
from ingot.operations import render, tree
from ingot.secrets import keys

#: What nginx.conf includes: one file per concern.
INCLUDED = "/etc/nginx/ingot"
KEY_MAP = f"{INCLUDED}/keys.map"
KEY_ID_MAP = f"{INCLUDED}/key_ids.map"
EXPIRING_MAP = f"{INCLUDED}/expiring_keys.map"


@dataclass(frozen=True)
class Teams:
    """Who may do what: teams with settings of their own by name, and all others."""

    others: Team
    named: Mapping[str, Team]

    @property
    def largest_body_bytes(self) -> int:
        """The largest request body that any team may send."""
        return limits.bodies(self.others, self.named)[0].limit

    def refused(self, served: Sequence[Engine]) -> dict[str, tuple[str, ...]]:
        """The served models that a team may not use, for teams that may not use all of them."""
        return limits.refused(self.named, [engine.model for engine in served])


def entries(
    teams: Teams, active: Sequence[keys.Key], served: Sequence[Engine], *, asked_by_query: bool
) -> list[tree.Entry]:
    """The script, nginx' maps of keys, and what it counts and refuses."""
    return [
        tree.File(f"{INCLUDED}/auth.js", render.template("gateway/auth.js")),
        tree.File(f"{INCLUDED}/teams.conf", teams_conf(teams, len(active), served, asked_by_query=asked_by_query)),
        # Hashes only, and still nobody else's business: read by nginx' master, which is root.
        *(tree.File(path, text, mode="0600", secret=True) for path, text in maps(active).items()),
    ]


def refusals(teams: Teams, route: Route, served: Sequence[Engine]) -> list[str]:
    """The lines of a location that refuse a team's request before an engine is asked."""
    lines = []
    if route.method == "POST" and len(limits.bodies(teams.others, teams.named)) > 1:
        lines += ['if ($body_verdict = "large") { return 413; }', 'if ($body_verdict = "unknown") { return 411; }']
    if teams.refused(served) and len(served) == 1:
        answer = "200 $model_list" if route.kind == "list" else "403"
        lines.append(f"if (${served[0].name}_refused) {{ return {answer}; }}")
    elif teams.refused(served) and route.answer == "query":
        lines.append("if ($asked_refused) { return 403; }")
    return lines


def without_key(teams: Teams, active: Sequence[keys.Key]) -> str | None:
    """A sentence on teams with settings and no key, whose names may be mistyped; None when there are none."""
    missing = [name for name in teams.named if name not in {key.team for key in active}]
    if not missing:
        return None
    return f"gateway_teams names {', '.join(missing)}, for which there is no key; correct it, or make one."


def maps(active: Sequence[keys.Key]) -> dict[str, str]:
    """nginx' maps from the SHA-256 of a key: to its team, to its team and end, to what logs and engines call it."""
    return {
        KEY_MAP: "".join(f"{key.sha256} {key.team};\n" for key in active if key.end is None),
        EXPIRING_MAP: "".join(f"{key.sha256} {key.team}:{key.end.timestamp():.0f};\n" for key in active if key.end),
        KEY_ID_MAP: "".join(f"{key.sha256} {key.id};\n" for key in active),
    }


def teams_conf(teams: Teams, key_count: int, served: Sequence[Engine], *, asked_by_query: bool) -> str:
    """From a caller's key to its team, and what nginx counts and refuses by it."""
    rates = limits.rates(teams.others, teams.named)
    refused = teams.refused(served)
    lists = {team: model_list([one for one in served if one.model not in models]) for team, models in refused.items()}
    names = {engine.model: engine.name for engine in served}
    by_engine = [
        (engine, [limits.map_key(team) for team, models in refused.items() if engine.model in models])
        for engine in served
    ]
    return render.template(
        "gateway/teams.conf",
        map_hash_max_size=max(2048, 4 * key_count),
        rates=rates,
        running=limits.running(teams.others, teams.named),
        retries=limits.by_team(rates, lambda rate: rate.retry_s),
        running_retry_s=RUNNING_RETRY_S,
        largest_body=teams.largest_body_bytes,
        bodies=limits.by_team(limits.bodies(teams.others, teams.named), int),
        refused_by_engine=[(engine, names) for engine, names in by_engine if names],
        lists=(("default", model_list(served)), *limits.listed(lists)) if refused else (),
        refused_by_query=[f"{team} {names[model]}" for team, models in refused.items() for model in models]
        if asked_by_query and len(served) > 1
        else (),
    )
