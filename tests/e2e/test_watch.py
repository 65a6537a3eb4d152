"""An engine that hangs behind a healthy face leaves the pool, is started again, and returns by an answer. In order."""

from __future__ import annotations

import json
import time

import openai
import pytest

from ingot.facts.replica_holds import HOLDS_FILE, parse_holds
from ingot.sandbox import TestHost
from tests.e2e.deploying import deploy
from tests.e2e.test_deploy import client, containers

pytestmark = [pytest.mark.e2e, pytest.mark.rollout, pytest.mark.timeout(1800)]

NAME = "e2e"
LOOK = "systemctl start ingot-replica-watch.service"


def test_a_hung_engine_is_taken_out_and_callers_are_told_when_to_come_back(host: TestHost, key: str) -> None:
    if host.run("docker ps | grep tiny-qwen3")[0] != 0:
        assert deploy(NAME).status == 0
    assert containers(host)
    host.succeeds("systemctl is-active ingot-replica-watch.timer && systemctl stop ingot-replica-watch.timer")
    host.succeeds("pkill -STOP -f VLLM::[E]ngineCore")
    host.succeeds("curl -sf --max-time 10 http://172.31.213.10:8000/health")
    # As if the last question were a minute old.
    host.succeeds(f"rm /var/lib/ingot/replica-watch.json; {LOOK}")
    [hold] = parse_holds(host.succeeds(f"cat {HOLDS_FILE}"))
    assert (hold.gpu, hold.why) == ("", "it says that it is well, and a short question had no answer in 30 s")
    with pytest.raises(openai.InternalServerError) as refused:
        client(host, key).with_options(max_retries=0).models.list()
    assert refused.value.response.status_code == 503 and int(refused.value.response.headers["Retry-After"]) > 0


def test_it_is_started_again_and_back_once_it_answers(host: TestHost, key: str) -> None:
    host.succeeds(LOOK)
    assert "it is started again" in host.succeeds("journalctl -u ingot-replica-watch -o cat")
    host.wait_until_succeeds(f"{LOOK}; test '{{}}' = \"$(cat {HOLDS_FILE})\"", timeout_s=420)
    # A worker of nginx that is on its way out may take one more request.
    deadline = time.monotonic() + 60
    while True:
        try:
            assert client(host, key).completions.create(model="tiny-qwen3", prompt="Hello", max_tokens=2).choices
            break
        except openai.InternalServerError:
            assert time.monotonic() < deadline, "callers are still sent away"


def test_a_deploy_finds_nothing_to_do(host: TestHost) -> None:
    run = deploy(NAME)
    assert (run.status, run.changed(NAME)) == (0, ["Engine | Start at boot, and watch the replicas"]), run.output[
        -4000:
    ]
    assert json.loads(host.succeeds(f"cat {HOLDS_FILE}")) == {}
    assert deploy(NAME).changed(NAME) == []
