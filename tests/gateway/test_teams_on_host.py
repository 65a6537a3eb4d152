"""Teams on a real machine: keys that end, limits that hurt nobody else, models that are refused, logs that rotate."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ingot.operations.gateway import log as gateway_log
from ingot.secrets import keys
from tests.gateway.conftest import ENGINE, SECOND_ENGINE, GatewayHost
from tests.hosts.https import Answer, Caller

pytestmark = [pytest.mark.gateway, pytest.mark.e2e, pytest.mark.timeout(1800)]

CHAT = "/v1/chat/completions"
QUESTION = {"model": "stand-in"}
STREAM = {"model": "stand-in", "stream": True}
TEAMS = {
    "busy": {"requests_per_minute": 6, "burst": 2, "max_body": "64m"},
    "narrow": {"concurrency": 1, "max_body": "64k"},
    "elsewhere": {"models": ["org/second"]},
    # A word that every object of JavaScript knows.
    "constructor": {"burst": 7},
}


@pytest.fixture(scope="module")
def teams(served: GatewayHost) -> dict[str, Caller]:
    """A caller of each team, deployed with their limits; `research` has none of its own."""
    callers = {team: replace(served.caller, key=keys.create(served.secrets, team)) for team in TEAMS}
    deployed = served.deploy(gateway_teams=TEAMS, gateway_http2=True)
    assert deployed.status == 0, deployed.output
    return {"research": served.caller, **callers}


def codes(answers: list[Answer]) -> list[str]:
    return ["ok" if answer.status == 200 else str(answer.json["error"]["code"]) for answer in answers]


def curl(served: GatewayHost, caller: Caller, *words: str) -> tuple[int, str]:
    """A request as curl sends it from the host itself, 100 KB from standard input: status, and the error's code."""
    name = served.host.name
    headers = f"-H 'Authorization: Bearer {caller.key}' -H 'Content-Type: application/json'"
    flags = " ".join((f"-sk --resolve {name}:443:127.0.0.1", headers, *words))
    body = "head -c 100000 /dev/zero | tr '\\0' ' '"
    said = served.host.succeeds(f"{body} | curl {flags} -w '\\n%{{http_code}}' https://{name}{CHAT} || true")
    answer, _, status = said.rpartition("\n")
    return int(status), str(json.loads(answer).get("error", {}).get("code", "")) if answer else ""


def test_a_team_at_its_rate_slows_no_other(teams: dict[str, Caller]) -> None:
    with ThreadPoolExecutor(2) as pool:
        busy = pool.submit(lambda: [teams["busy"].post(CHAT, QUESTION) for _ in range(8)])
        other = pool.submit(lambda: [teams["research"].post(CHAT, QUESTION) for _ in range(20)])
    refused = [answer for answer in busy.result() if answer.status == 429]
    assert set(codes(busy.result())) == {"ok", "rate_limit_exceeded"} and len(refused) >= 4
    # One comes in every ten seconds; those who were refused together do not come back together.
    assert {int(answer.headers["Retry-After"]) for answer in refused} <= set(range(10, 21))
    assert refused[0].headers["X-Request-Id"] == refused[0].json["error"]["request_id"]
    assert codes(other.result()) == ["ok"] * 20


def test_a_team_with_as_many_running_as_it_may_is_told_so(served: GatewayHost, teams: dict[str, Caller]) -> None:
    with served.held():
        running = teams["narrow"].stream(CHAT, STREAM)
        next(running)
        assert codes([teams["narrow"].post(CHAT, QUESTION)]) == ["concurrency_limit_exceeded"]
        assert codes([teams["research"].post(CHAT, QUESTION)]) == ["ok"]
    assert len(list(running)) == 9
    assert codes([teams["narrow"].post(CHAT, QUESTION)]) == ["ok"]


def test_a_body_is_held_to_the_limit_of_its_team_however_it_is_sent(
    served: GatewayHost, teams: dict[str, Caller]
) -> None:
    served.reached()
    chunked, http2 = ("--http1.1", "-T -", "-X POST"), ("--http2", "-T -", "-X POST")
    assert curl(served, teams["narrow"], "--http1.1", "--data-binary @-") == (413, "request_too_large")
    assert curl(served, teams["narrow"], *chunked) == (411, "length_required")
    assert curl(served, teams["narrow"], *http2) == (411, "length_required")
    # A length that is not true ends the request, not the limit.
    assert curl(served, teams["narrow"], "--http2", "--data-binary @-", "-H 'Content-Length: 9'")[0] in (0, 400)
    assert served.reached() == []
    # The team with the largest limit is held to it by nginx itself.
    for way in (chunked, http2):
        assert curl(served, teams["busy"], *way)[0] in (200, 429)
    assert codes([teams["research"].post(CHAT, {"prompt": "x" * 33_600_000})]) == ["request_too_large"]


def test_a_team_without_the_model_is_refused_before_its_body_is_read(
    served: GatewayHost, teams: dict[str, Caller]
) -> None:
    served.reached()
    refused = teams["elsewhere"].post(CHAT, QUESTION)
    assert (refused.status, codes([refused])) == (403, ["model_not_allowed"])
    assert teams["elsewhere"].get("/v1/models").json["data"] == []
    assert served.reached() == []


def test_a_key_ends_by_the_clock_of_the_host(served: GatewayHost, teams: dict[str, Caller]) -> None:
    hour = timedelta(hours=1)
    now = datetime.now(UTC)
    good, over = (replace(served.caller, key=keys.create(served.secrets, "trial", now + by)) for by in (hour, -hour))
    old = teams["elsewhere"]
    new, [ending] = keys.rotate(served.secrets, "elsewhere", hour, now)
    assert served.deploy(gateway_teams=TEAMS, gateway_http2=True).status == 0
    statuses = [caller.get("/v1/models").status for caller in (good, over, old, replace(old, key=new))]
    assert statuses == [200, 401, 200, 200]
    keys.revoke_id(served.secrets, ending.id)
    assert served.deploy(gateway_teams=TEAMS, gateway_http2=True).status == 0
    assert [caller.get("/v1/models").status for caller in (old, replace(old, key=new))] == [401, 200]
    log = [json.loads(line) for line in served.host.succeeds(f"tail -n 6 {gateway_log.LOG}").splitlines()]
    # Who still uses a key that has ended can be told; a revoked one is as unknown as any other.
    assert [(line["team"], line["key"]) for line in log] == [
        *(("trial", keys.fingerprint(str(good.key))[:8]), ("", keys.fingerprint(str(over.key))[:8])),
        *(("elsewhere", ending.id), ("elsewhere", keys.fingerprint(new)[:8])),
        *(("", ""), ("elsewhere", keys.fingerprint(new)[:8])),
    ]


def test_rotation_loses_no_line(served: GatewayHost) -> None:
    count = f'cat {gateway_log.LOG}* | grep -c \'"path":"{CHAT}"\''
    before = int(served.host.succeeds(count))
    with served.held():
        running = served.caller.stream(CHAT, STREAM)
        next(running)
        served.host.succeeds(f"logrotate -f {gateway_log.ROTATION}")
    assert len(list(running)) == 9
    served.caller.post(CHAT, QUESTION)
    served.host.wait_until_succeeds(f"test $({count}) = {before + 2}")
    written = served.host.succeeds(f"cat {gateway_log.LOG}").splitlines()
    assert len(written) == 2
    assert {"team": "research", "model": "stand-in", "status": 200}.items() <= json.loads(written[0]).items()
    owner = served.host.succeeds(f"stat -c '%U:%G %a' {gateway_log.LOG}").strip()
    assert owner == "www-data:adm 640"


def test_usage_counts_what_each_team_asked_and_was_refused(served: GatewayHost, teams: dict[str, Caller]) -> None:
    # The line that the middleware of a real engine writes; tests/e2e has a real one write it.
    line = {
        "time": datetime.now(UTC).isoformat(),
        "request_id": "x",
        "team": "busy",
        "key": "0a0a0a0a",
        "model": "stand-in",
        "status": 200,
        "first_byte_s": 0.2,
        "prompt_tokens": 1200,
        "completion_tokens": 34,
        "finished": True,
    }
    served.host.succeeds("mkdir -p /var/log/ingot/engine")
    served.host.put("/var/log/ingot/engine/stand-in-0.jsonl", json.dumps(line) + "\n")
    words = ("usage", "--inventory", str(served.directory / "lab.py"), "--since", "1d")
    ingot = [str(Path(sys.executable).parent / "ingot"), *words]
    said = subprocess.run([*ingot, "--json", "--by", "team"], capture_output=True, text=True, timeout=600, check=True)
    rows = {row["team"]: row for row in json.loads(said.stdout)["usage"]}
    assert set(rows) >= {"research", "busy", "narrow", "elsewhere"}
    assert rows["busy"]["refused"]["429"] >= 4
    assert (rows["busy"]["prompt_tokens"], rows["busy"]["completion_tokens"]) == (1200, 34)
    assert rows["narrow"]["refused"] == {"411": 2, "413": 1, "429": 1}
    table = subprocess.run(
        ingot, capture_output=True, text=True, timeout=600, check=True, env={**os.environ, "COLUMNS": "100"}
    )
    assert next(line for line in table.stdout.splitlines() if line.startswith("busy")).split()[-4:-2] == ["1,200", "34"]


def test_of_several_models_each_team_sees_and_uses_its_own(served: GatewayHost, teams: dict[str, Caller]) -> None:
    served.start_engine(SECOND_ENGINE)
    served.tell_gateway({"stand-in": ENGINE, "org/second": SECOND_ENGINE})
    [key] = [keys.create(served.secrets, "elsewhere")]
    assert served.deploy(gateway_teams=TEAMS, gateway_http2=True).status == 0

    def models(caller: Caller) -> list[Any]:
        return [model["id"] for model in caller.get("/v1/models").json["data"]]

    elsewhere = replace(served.caller, key=key)
    assert (models(elsewhere), models(served.caller)) == (["org/second"], ["stand-in", "org/second"])
    answers = [caller.post(CHAT, {"model": model}) for caller in (elsewhere, served.caller) for model in models(caller)]
    assert codes(answers) == ["ok"] * 3
    assert codes([elsewhere.post(CHAT, QUESTION), teams["constructor"].post(CHAT, QUESTION)]) == [
        "model_not_allowed",
        "ok",
    ]
    log = json.loads(served.host.succeeds(f"tail -n 3 {gateway_log.LOG} | head -n 1"))
    assert (log["team"], log["model"]) == ("research", "org/second")
