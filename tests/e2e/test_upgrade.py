"""A host that the first landed version of Ingot left is taken over: its replica serves on, and can be gone back to."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from ingot.facts.schema import SCHEMA, schema_json
from ingot.operations.serving.stored import last_good
from ingot.sandbox import TestHost
from tests.e2e.deploying import deploy

pytestmark = [pytest.mark.e2e, pytest.mark.rollout, pytest.mark.timeout(1800)]

NAME = "e2e"
CONTAINER = "ingot-engine-tiny-qwen3-0"
COMPOSE = "/etc/ingot/engine/compose.yaml"
STATE = "/var/lib/ingot"
SERVICE = "var/lib/ingot/engine/last-good/tiny-qwen3-0.json"
#: Recorded on a test host that commit dd98645 had deployed.
LEFT = Path(__file__).parent / "captures" / "state-dd98645"


@pytest.fixture(scope="module")
def left(host: TestHost) -> TestHost:
    """The host as that version left it: its state, its Compose file, its replica running, nothing newer."""
    run = deploy(NAME)
    assert run.status == 0, run.output[-6000:]
    # What differs from machine to machine: the image's id, the GPU, the directory of the weights.
    now, before = host.succeeds(f"cat {COMPOSE}"), (LEFT / COMPOSE[1:]).read_text()
    patterns = (r"sha256:[0-9a-f]{64}", r"GPU-[0-9a-f-]{36}", r"/srv/models/tiny-qwen3/bf16/[0-9a-f]+")
    here = {re.findall(pattern, before)[0]: re.findall(pattern, now)[0] for pattern in patterns}
    host.succeeds(f"docker rm --force {CONTAINER}; rm -rf {STATE}/good {STATE}/schema.json {STATE}/engine/last-good/*")
    files = {path.relative_to(LEFT): path.read_text() for path in LEFT.rglob("*") if path.is_file()}
    for old, new in here.items():
        files = {path: text.replace(old, new) for path, text in files.items()}
    # And so the digest that the container carries.
    service = json.loads(files[Path(SERVICE)])
    recorded = re.findall(r'ingot.digest: "(\w+)"', before)[0]
    files[Path(COMPOSE[1:])] = files[Path(COMPOSE[1:])].replace(recorded, last_good(service).digest)
    for path, text in files.items():
        host.put(f"/{path}", text)
    host.succeeds(f"docker compose --file {COMPOSE} up --detach", timeout_s=600)
    host.wait_until_succeeds("curl --fail --silent http://172.31.213.10:8000/health", timeout_s=600)
    return host


def test_a_deploy_that_fails_brings_the_older_versions_replica_back(left: TestHost) -> None:
    run = deploy(NAME, data=['engine_extra_args=["--no-such-flag"]'])
    assert run.status == 1
    assert "the last good tiny-qwen3-0 serves again." in run.output, run.output[-6000:]


def test_its_host_is_taken_over(left: TestHost) -> None:
    run = deploy(NAME)
    assert run.status == 0, run.output[-6000:]
    assert json.loads(left.succeeds(f"cat {STATE}/schema.json")) == {"schema": SCHEMA}
    proven = json.loads(left.succeeds(f"cat {STATE}/engine/last-good/tiny-qwen3-0.json"))
    assert proven["schema"] == 1 and proven["service"]["kind"] == "generate"
    again = deploy(NAME)
    assert again.status == 0 and again.changed(NAME) == [], again.output[-3000:]


def test_an_older_ingot_leaves_a_newer_host_alone(left: TestHost) -> None:
    left.put(f"{STATE}/schema.json", json.dumps({"schema": SCHEMA + 1}))
    try:
        before = left.succeeds(f"cat {COMPOSE}")
        run = deploy(NAME)
        assert run.status == 1 and run.output.count("a newer Ingot has changed it") == 1, run.output[-3000:]
        assert left.succeeds(f"cat {COMPOSE}") == before
    finally:
        left.put(f"{STATE}/schema.json", schema_json())
