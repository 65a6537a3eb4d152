"""Redaction, request checks and budgets before the real engine, for the teams that asked. The tests run in order."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from ingot.sandbox import Sandbox, TestHost
from ingot.secrets import keys
from tests.e2e.deploying import Run, deploy
from tests.hosts.https import Caller

pytestmark = [pytest.mark.gateway, pytest.mark.e2e, pytest.mark.timeout(1800)]

NAME = "e2e"
#: An echo gives the prompt back as a part of the answer: personal data that this tiny model would not write by itself.
ECHO = {"model": "tiny-qwen3", "prompt": "手机13800138000，", "echo": True, "max_tokens": 2}
TEAMS = {
    "filtered": {"redact": "all"},
    "checked": {"check_requests": "refuse"},
    "metered": {"tokens_per_minute": 300},
}
DATA = (f"gateway_teams={json.dumps(TEAMS)}",)
HEALTH = "curl -sf --unix-socket /run/ingot/filter/filter.sock http://filter/-/health"


@pytest.fixture(scope="module")
def callers(host: TestHost, key: str) -> Iterator[dict[str, Caller]]:
    """A caller of each team, and `plain`, who asked for nothing."""
    secrets = Sandbox().secrets_dir
    found = {team: Caller(host.address, host.name, secrets / "ca.crt", keys.create(secrets, team)) for team in TEAMS}
    found["plain"] = Caller(host.address, host.name, secrets / "ca.crt", key)
    yield found
    for team in TEAMS:
        keys.revoke(secrets, team)


@pytest.fixture(scope="module")
def run(host: TestHost, callers: dict[str, Caller]) -> Run:
    """A deployed host, deployed once more with teams that need the filter."""
    if host.run("docker ps | grep tiny-qwen3")[0] != 0:
        assert deploy(NAME).status == 0
    return deploy(NAME, data=DATA)


def text(answer: Any) -> str:
    return "".join(choice["text"] for choice in answer["choices"])


def test_switching_it_on_touches_only_the_gateway(run: Run) -> None:
    assert run.status == 0, run.output[-6000:]
    assert {name.partition(" | ")[0] for name in run.changed(NAME)} == {"Gateway", "Remember"}


def test_answers_are_redacted_for_the_team_that_asked_and_for_no_other(run: Run, callers: dict[str, Caller]) -> None:
    assert text(callers["filtered"].post("/v1/completions", ECHO).json).startswith("手机[redacted:mobile]，")
    assert text(callers["plain"].post("/v1/completions", ECHO).json).startswith("手机13800138000，")


def test_streams_are_redacted(run: Run, callers: dict[str, Caller]) -> None:
    *events, done = (data for _, data in callers["filtered"].stream("/v1/completions", {**ECHO, "stream": True}))
    assert "".join(text(json.loads(event)) for event in events).startswith("手机[redacted:mobile]，")
    assert done == "[DONE]"


def test_requests_are_checked_and_budgets_kept(run: Run, callers: dict[str, Caller]) -> None:
    refused = callers["checked"].post("/v1/completions", ECHO)
    assert (refused.status, refused.json["error"]["code"]) == (400, "request_refused_personal_data")
    first = callers["metered"].post("/v1/completions", {**ECHO, "max_tokens": 250, "ignore_eos": True})
    second = callers["metered"].post("/v1/completions", {**ECHO, "max_tokens": 250})
    assert (first.status, second.status) == (200, 429)
    assert second.json["error"]["code"] == "tokens_per_minute_exceeded" and int(second.headers["Retry-After"]) > 0


def test_a_caller_who_hangs_up_behind_the_filter_frees_the_engine(
    run: Run, host: TestHost, callers: dict[str, Caller]
) -> None:
    def working() -> float:
        lines = host.succeeds("curl -sf http://172.31.213.10:8000/metrics").splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith("vllm:num_requests_running{"))

    def generated() -> float:
        lines = host.succeeds("curl -sf http://172.31.213.10:8000/metrics").splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith("vllm:generation_tokens_total{"))

    before = generated()
    long: dict[str, Any] = {**ECHO, "stream": True, "max_tokens": 3500, "ignore_eos": True}
    stream = callers["filtered"].stream("/v1/completions", long)
    next(stream)
    assert working() == 1
    stream.close()
    deadline = time.monotonic() + 300
    while working():
        assert time.monotonic() < deadline, "the engine goes on"
        time.sleep(0.2)
    assert generated() - before < long["max_tokens"], "the answer was written to its end, to nobody"


def test_the_filter_may_nothing_and_is_reached_by_nginx_alone(run: Run, host: TestHost) -> None:
    (found,) = json.loads(host.succeeds("docker inspect $(docker ps -q --filter name=ingot-filter)"))
    assert found["HostConfig"]["CapDrop"] == ["ALL"] and found["HostConfig"]["NetworkMode"] == "none"
    assert found["Config"]["User"] == "2000:0" and found["HostConfig"]["ReadonlyRootfs"]
    assert host.succeeds("stat -c '%a %u %G' /run/ingot/filter").split() == ["750", "2000", "www-data"]
    host.fails(f"setpriv --reuid nobody --regid nogroup --clear-groups {HEALTH}")


def test_a_second_run_changes_nothing(run: Run) -> None:
    again = deploy(NAME, data=DATA)
    assert (again.status, again.changed(NAME)) == (0, []), again.output[-3000:]


def test_without_the_filter_nothing_passes_it_by_and_a_deploy_heals(
    run: Run, host: TestHost, callers: dict[str, Caller]
) -> None:
    host.succeeds("docker stop $(docker ps -q --filter name=ingot-filter)")
    answer = callers["filtered"].post("/v1/completions", ECHO)
    assert (answer.status, answer.json["error"]["code"]) == (503, "filter_down")
    assert callers["plain"].post("/v1/completions", ECHO).status == 200
    # nginx that was killed leaves its socket behind.
    host.succeeds("systemctl kill --signal KILL nginx; systemctl restart nginx")
    changed = json.dumps({**TEAMS, "filtered": {"redact": ["mobile"]}})
    assert deploy(NAME, data=[f"gateway_teams={changed}"]).status == 0
    assert "[redacted:mobile]" in text(callers["filtered"].post("/v1/completions", ECHO).json)


def test_where_no_team_asks_any_more_it_is_gone(run: Run, host: TestHost) -> None:
    assert deploy(NAME).status == 0
    host.wait_until_succeeds('test -z "$(docker ps -aq --filter name=ingot-filter)"')
    host.succeeds("test ! -e /etc/ingot/filter && nginx -t")
