"""The Compose file of a host, whole; Docker Compose 2.26 read it on a test host."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import yaml

from ingot.gateway.upstreams import engines, parse_upstreams
from ingot.operations.serving.services import compose_file, upstreams
from ingot.settings import of_host
from tests.operations.serving.onehost import OneHost

EXPECTED = Path(__file__).parent / "expected" / "compose.yaml"


def composed(host: OneHost) -> str:
    return compose_file(host.wanted(), of_host(host))


def test_the_whole_file() -> None:
    host = OneHost(serve=[{"model": "small", "context": 2048, "concurrency": 8, "replicas": 1}])
    assert composed(host) == EXPECTED.read_text()


def test_a_dollar_sign_reaches_the_engine_and_is_no_variable_of_compose() -> None:
    host = OneHost(engine_extra_args=['{"a": "$HOME"}'])
    assert yaml.safe_load(composed(host))["services"]["small-0"]["command"][-1] == '{"a": "$$HOME"}'


def test_replicas_of_a_model_share_its_name_and_have_addresses_of_their_own() -> None:
    host = OneHost()
    assert upstreams(host.wanted(), {}) == [
        {"model": "small", "replicas": ["172.31.213.10:8000", "172.31.213.11:8000"]}
    ]


def test_replicas_of_models_that_share_a_name_have_each_models_share_together() -> None:
    host = OneHost()
    stable = [replace(one, aliases=("gpt-4o",)) for one in host.wanted()]
    canary = replace(stable[0], name="next-0", model="next", address="172.31.213.12")
    parts = {"gpt-4o": {"small": 9, "next": 1}}
    found = {one["model"]: one for one in upstreams([*stable, canary], parts)}
    assert found["gpt-4o"]["weights"] == {"172.31.213.10:8000": 9, "172.31.213.11:8000": 9, "172.31.213.12:8000": 2}
    assert "weights" not in found["small"] and "weights" not in found["next"]
    (shared, *_) = engines(parse_upstreams(json.dumps([found["gpt-4o"]]))[0])
    assert [one.weight for one in shared.servers] == [9, 9, 2]
    assert upstreams(stable, parts)[0].keys() == {"model", "replicas"}, "one of them alone has all of it"
