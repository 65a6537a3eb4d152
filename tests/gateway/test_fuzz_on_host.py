"""Hundreds of odd requests through real nginx: not one reaches a route of the engine that is not open."""

from __future__ import annotations

import json
import ssl
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ingot.gateway.routes import ALWAYS, Endpoint
from tests.gateway import fuzz
from tests.gateway.conftest import ROOT, GatewayHost
from tests.gateway.fleet_hosts import Fleet

pytestmark = [pytest.mark.gateway, pytest.mark.e2e, pytest.mark.timeout(1800)]

OPEN = {(one.method, one.path) for one in ALWAYS["vllm"]}
HEADERS = {
    *("Host", "Content-Type", "Content-Length", "Accept", "X-Request-Id", "X-Ingot-Team", "X-Ingot-Key"),
}
SCHEMATHESIS = ROOT / ".venv-checkers" / "bin" / "schemathesis"


def attacked(fleet: Fleet) -> GatewayHost:
    """A host with an engine, as callers of its own meet it."""
    host = replace(fleet.members[1], key=fleet.front.key)
    host.reached()
    return host


def judge(served: GatewayHost) -> int:
    """Every request that reached the engine was for an open route, by a known team, and stripped of the rest."""
    reached = served.reached()
    wrong = [
        line
        for line in reached
        if (line["method"], line["path"]) not in OPEN
        or line["headers"].get("X-Ingot-Team") != "research"
        or set(line["headers"]) - HEADERS
    ]
    assert wrong == []
    return len(reached)


def test_no_path_method_or_header_reaches_a_route_that_is_not_open(fleet: Fleet) -> None:
    """On HTTP/1 and HTTP/2. The same requests each time, so that a failure can be met again."""
    served = attacked(fleet)
    got_through = [0, 0]

    @settings(
        max_examples=12,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(fuzz.requests, min_size=50, max_size=50))
    def attack(batch: list[fuzz.Request]) -> None:
        contexts = [ssl.create_default_context(cafile=str(served.caller.ca)) for _ in batch]
        with ThreadPoolExecutor(8) as pool:
            list(
                pool.map(
                    lambda pair: fuzz.send(pair[0], served.host.address, served.host.name, served.key, pair[1]),
                    zip(batch, contexts, strict=True),
                )
            )
        got_through[0] += len(batch)
        got_through[1] += judge(served)

    attack()
    # Some of it is meant for open routes: were it all refused, nothing would be proven.
    assert got_through[0] == 600 and got_through[1] >= 10


def schema(endpoints: tuple[Endpoint, ...]) -> dict[str, object]:
    """The allow-list as OpenAPI describes it."""
    body = {"content": {"application/json": {"schema": {"type": "object"}}}, "required": True}
    answers = {str(status): {"description": "-"} for status in (200, 400, 401, 404, 405, 413, 415, 429)}
    paths = {
        one.path: {one.method.lower(): {"responses": answers, **({"requestBody": body} if one.kind == "json" else {})}}
        for one in endpoints
    }
    schemes = {"key": {"type": "http", "scheme": "bearer"}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "open routes", "version": "1"},
        "security": [{"key": []}],
        "components": {"securitySchemes": schemes},
        "paths": paths,
    }


def test_schemathesis_finds_nothing_against_the_open_routes(fleet: Fleet, tmp_path: Path) -> None:
    """An independent fuzzer: no server error, every other method refused, no answer without the key."""
    (tmp_path / "open.json").write_text(json.dumps(schema(ALWAYS["vllm"])))
    served = attacked(fleet)
    done = subprocess.run(
        [
            *(str(SCHEMATHESIS), "run", str(tmp_path / "open.json"), "--url", f"https://{served.host.address}"),
            *("--header", f"Authorization: Bearer {served.key}", "--tls-verify", str(served.caller.ca)),
            *("--checks", "not_a_server_error,status_code_conformance,unsupported_method,ignored_auth"),
            *("--max-examples", "15", "--seed", "1", "--no-color", "--request-timeout", "5"),
            *("--phases", "examples,coverage,fuzzing"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert judge(served) > 10
