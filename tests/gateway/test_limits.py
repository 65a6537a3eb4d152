"""Limits of teams: what nginx is told, so that each team is counted by itself and by its own limit alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ingot.errors import IngotError
from ingot.facts.gateway import Gateway
from ingot.gateway import limits
from ingot.gateway.limits import Rate, Shared
from ingot.gateway.routes import Route
from ingot.gateway.teams import Team
from ingot.gateway.upstreams import Engine, Upstream, engines
from ingot.operations import tree
from ingot.operations.gateway import gateway
from ingot.operations.gateway import teams as gateway_teams
from ingot.operations.gateway.teams import Teams
from ingot.secrets import keys
from tests.operations.serving.onehost import OneHost

pytestmark = pytest.mark.gateway

OTHERS = Team("", 600, 60, 16, 32 << 20)
ONE = engines([Upstream("qwen", ("a:1",))])
TWO = engines([Upstream("qwen", ("a:1",)), Upstream("llama", ("b:1",))])
CHAT = Route("POST", "/v1/chat/completions", "json", "engine")
LIST = Route("GET", "/v1/models", "list", "engine")
REALTIME = Route("GET", "/v1/realtime", "socket", "query")


def teams(**different: dict[str, Any]) -> Teams:
    return Teams(OTHERS, {name: replace(OTHERS, name=name, **values) for name, values in different.items()})


def conf(made: Teams, served: list[Engine] = ONE, key_count: int = 0, *, asked_by_query: bool = False) -> list[str]:
    text = gateway_teams.teams_conf(made, key_count, served, asked_by_query=asked_by_query)
    return [line.strip() for line in text.splitlines()]


def block(lines: list[str], first: str) -> list[str]:
    begin = lines.index(first)
    return lines[begin + 1 : lines.index("}", begin)]


def test_teams_with_the_same_limit_share_a_zone() -> None:
    named = teams(a={"concurrency": 2}, b={"concurrency": 2}, c={}, d={"concurrency": 3}).named
    assert limits.running(OTHERS, named) == (
        Shared(16, ("a", "b", "d"), others=True),
        Shared(2, ("a", "b")),
        Shared(3, ("d",)),
    )


def test_each_team_is_counted_in_its_own_zone_alone() -> None:
    lines = conf(teams(sales={"requests_per_minute": 30, "burst": 5}))
    assert block(lines, "map $team $rate_0 {") == ["default $team;", 'sales "";']
    assert block(lines, "map $team $rate_1 {") == ['default "";', "sales $team;"]
    assert [line for line in lines if line.startswith("limit_req zone")] == [
        "limit_req zone=rate_0 burst=60 nodelay;",
        "limit_req zone=rate_1 burst=5 nodelay;",
    ]
    assert "limit_req_zone $rate_1 zone=rate_1:1m rate=30r/m;" in lines


def test_a_team_named_like_a_word_of_nginx_is_a_team() -> None:
    lines = block(conf(teams(default={"concurrency": 1}, include={"concurrency": 1})), "map $team $running_1 {")
    assert lines == ['default "";', "\\default $team;", "\\include $team;"]


@pytest.mark.parametrize(("per_minute", "seconds"), [(1, 60), (7, 9), (59, 2), (60, 1), (6000, 1)])
def test_a_team_is_told_when_the_next_request_passes(per_minute: int, seconds: int) -> None:
    assert Rate(per_minute, 1).retry_s == seconds
    lines = conf(teams(sales={"requests_per_minute": per_minute}))
    assert f"sales {seconds};" in block(lines, "map $team $rate_retry_s {") or per_minute == 600


def test_bodies_of_one_size_are_nginx_own_business() -> None:
    lines = conf(teams(sales={"concurrency": 1}))
    assert f"client_max_body_size {32 << 20};" in lines
    assert not [line for line in lines if "body_verdict" in line]
    assert gateway_teams.refusals(teams(sales={}), CHAT, ONE) == []


@pytest.mark.parametrize(("sales", "largest"), [(8 << 20, 32 << 20), (64 << 20, 64 << 20)])
def test_smaller_bodies_are_told_apart_by_the_length_they_state(sales: int, largest: int) -> None:
    made = teams(sales={"max_body_bytes": sales})
    lines = conf(made)
    assert f"client_max_body_size {largest};" in lines
    assert sorted(block(lines, "map $team $max_body_bytes {")) == [f"default {32 << 20};", f"sales {sales};"]
    assert block(lines, "map $max_body_bytes $body_verdict {") == ["default $limited_body_verdict;", f'{largest} "";']
    assert [line[-15:] for line in gateway_teams.refusals(made, CHAT, ONE)] == ["{ return 413; }", "{ return 411; }"]
    assert gateway_teams.refusals(made, LIST, ONE) == []


def test_a_team_without_the_only_model_is_refused_and_shown_an_empty_list() -> None:
    made = teams(sales={"models": ("llama",)}, other={"models": ("qwen",)})
    assert block(conf(made), "map $team $engine_0_refused {") == ['default "";', "sales 1;"]
    assert gateway_teams.refusals(made, CHAT, ONE) == ["if ($engine_0_refused) { return 403; }"]
    assert block(conf(made), "map $team $model_list {")[1] == (
        'sales \'{"object": "list", "data": [], "has_more": false}\';'
    )
    assert gateway_teams.refusals(made, LIST, ONE) == ["if ($engine_0_refused) { return 200 $model_list; }"]


def test_of_several_models_a_team_is_shown_its_own() -> None:
    lines = block(conf(teams(sales={"models": ("llama",)}), TWO), "map $team $model_list {")
    assert ["qwen" in line for line in lines] == [True, False] and all('"llama"' in line for line in lines)


def test_a_model_named_in_a_query_is_refused_there() -> None:
    made = teams(sales={"models": ("llama",)})
    lines = conf(made, TWO, asked_by_query=True)
    assert block(lines, 'map "$team $asked_engine" $asked_refused {') == ['default "";', '"sales engine_0" 1;']
    assert gateway_teams.refusals(made, REALTIME, TWO) == ["if ($asked_refused) { return 403; }"]


def test_without_refusals_nothing_is_asked() -> None:
    assert not [line for line in conf(teams(sales={}), TWO, asked_by_query=True) if "model" in line or "asked" in line]


def test_the_maps_hold_hashes_and_are_for_root_alone() -> None:
    end = datetime(2027, 2, 1, tzinfo=UTC)
    active = (
        keys.Key("research", "a" * 64, "2026-11-22T00:00:00+00:00"),
        keys.Key("sales", "b" * 64, "2026-11-22T00:00:00+00:00", end.isoformat()),
    )
    made = {entry.path: entry for entry in gateway_teams.entries(teams(), active, ONE, asked_by_query=False)}

    def secret(path: str, text: str) -> tree.File:
        return tree.File(path, text, mode="0600", secret=True)

    assert [made[path] for path in (gateway_teams.KEY_MAP, gateway_teams.EXPIRING_MAP, gateway_teams.KEY_ID_MAP)] == [
        secret(gateway_teams.KEY_MAP, f"{'a' * 64} research;\n"),
        secret(gateway_teams.EXPIRING_MAP, f"{'b' * 64} sales:{int(end.timestamp())};\n"),
        secret(gateway_teams.KEY_ID_MAP, f"{'a' * 64} {'a' * 8};\n{'b' * 64} {'b' * 8};\n"),
    ]


def test_a_team_with_settings_and_no_key_is_spoken_of() -> None:
    active = [keys.Key("sales", "a" * 64, "2026-11-22T00:00:00+00:00")]
    assert gateway_teams.without_key(teams(sales={}), active) is None
    said = gateway_teams.without_key(teams(sales={}, reserch={}), active)
    assert said == "gateway_teams names reserch, for which there is no key; correct it, or make one."


def test_the_maps_grow_with_the_keys() -> None:
    assert "map_hash_max_size 2048;" in conf(teams())
    assert "map_hash_max_size 20000;" in conf(teams(), key_count=5000)


def test_hosts_forget_a_key_some_time_after_its_end() -> None:
    now = datetime(2026, 11, 23, tzinfo=UTC)
    ends = [None, now + timedelta(1), now - timedelta(29), now - timedelta(30)]
    known = [keys.Key("t", f"{n}" * 64, "x", end and end.isoformat()) for n, end in enumerate(ends)]
    assert keys.lasting(known, now) == tuple(known[:3])


def test_a_deploy_tells_hosts_of_keys_that_ended_lately_and_of_no_older_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(UTC)
    ends = {"a": None, "b": now + timedelta(1), "c": now - timedelta(29), "d": now - timedelta(31)}
    entries = [
        {"team": "t", "sha256": digit * 64, "created": "x", **({"expires": end.isoformat()} if end else {})}
        for digit, end in ends.items()
    ]
    (tmp_path / "keys.yaml").write_text(json.dumps({"keys": entries}))
    told: list[str] = []

    def nothing(*_: object) -> Iterator[None]:
        yield from ()

    def entries_of(found: object, wanted: object, active: Sequence[keys.Key], *_: object) -> None:
        told.extend(key.sha256[0] for key in active)
        raise IngotError("that is all that this test is about")

    monkeypatch.setattr(gateway, "settings_of_host", lambda: SimpleNamespace(secrets=tmp_path, filter=None))
    monkeypatch.setattr(gateway, "_fleet_ca", lambda _: None)
    monkeypatch.setattr(gateway.verify_key, "provide", lambda _: None)
    for module, name, stand_in in (
        (gateway.gateway_site, "why_not", lambda *_: None),
        (gateway.gateway_site, "check", lambda _: None),
        (gateway.gateway_site, "entries", entries_of),
        (gateway.gateway_certificate, "wish", lambda _: None),
        (gateway.gateway_certificate, "present", nothing),
    ):
        monkeypatch.setattr(module, name, stand_in)
    host = OneHost()
    host.answers[Gateway] = None
    host.run(gateway.site)
    assert told == ["a", "b", "c"] and host.refused == ["gpu-01: that is all that this test is about"]
