"""The Compose file of a host, whole; Docker Compose 2.26 read it on a test host."""

from __future__ import annotations

from pathlib import Path

import yaml

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
    assert upstreams(host.wanted()) == [{"model": "small", "replicas": ["172.31.213.10:8000", "172.31.213.11:8000"]}]
