"""A host goes back to what it served before, in one command, without anything from elsewhere; keys stay as they are."""

from __future__ import annotations

import json
import subprocess

import pytest

from ingot.sandbox import Sandbox, TestHost
from ingot.secrets import keys
from tests.e2e.deploying import INGOT, PYINFRA, ROOT, deploy
from tests.hosts.https import Caller

pytestmark = [pytest.mark.e2e, pytest.mark.rollout, pytest.mark.timeout(1800)]

NAME = "e2e"
COMPOSE = "/etc/ingot/engine/compose.yaml"


def ingot(*words: str) -> subprocess.CompletedProcess[str]:
    command = [str(INGOT), *words, "inventories/sandbox.py"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)


def states() -> list[dict[str, object]]:
    shown: list[dict[str, object]] = json.loads(ingot("history", NAME, "--json").stdout)["hosts"][0]["states"]
    return shown


def test_a_deploy_that_is_proven_is_a_state_to_go_back_to(host: TestHost) -> None:
    first = deploy(NAME)
    assert first.status == 0, first.output[-6000:]
    before = len(states())
    again = deploy(NAME)
    assert again.status == 0 and again.changed(NAME) == [], again.output[-3000:]
    assert len(states()) == before >= 1 and states()[-1]["now"]


def test_one_command_goes_back_and_a_revoked_key_does_not(host: TestHost) -> None:
    secrets = Sandbox().secrets_dir
    key = keys.create(secrets, "leaver")
    assert deploy(NAME).status == 0
    good, compose = states()[-1]["number"], host.succeeds(f"cat {COMPOSE}")
    caller = Caller(host.address, NAME, secrets / "ca.crt", key)
    assert caller.get("/v1/models").status == 200
    keys.revoke(secrets, "leaver")
    changed = deploy(NAME, data=['engine_extra_args=["--max-log-len", "64"]', "gateway_hsts_max_age_s=600"])
    assert changed.status == 0, changed.output[-6000:]
    assert "--max-log-len" in host.succeeds(f"cat {COMPOSE}") and states()[-1]["number"] != good

    done = ingot("rollback", NAME)

    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{NAME}: serves state {good} of " in done.stdout
    assert host.succeeds(f"cat {COMPOSE}") == compose
    assert caller.get("/v1/models").status == 401, "a key that was revoked stays revoked"
    host.succeeds("! grep -r Strict-Transport-Security /etc/nginx/ingot /etc/nginx/nginx.conf")
    assert [one["now"] for one in states()] == [one["number"] == good for one in states()]
    runs = json.loads(ingot("history", NAME, "--json").stdout)["hosts"][0]["runs"]
    assert (runs[-1]["purpose"], runs[-1]["result"]) == ("rollback", "done")


def test_a_host_that_loses_power_while_its_engine_loads_is_healed(host: TestHost) -> None:
    """The run waits for it and goes on, or says in one sentence why not; the next one brings everything."""
    wanted = 'engine_extra_args=["--max-log-len", "65"]'
    command = [str(PYINFRA), "-y", "inventories/sandbox.py", "deploy.py", "--limit", NAME, "--data", wanted]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as run:
        host.wait_until_succeeds(f"grep -q '\"65\"' {COMPOSE} && docker ps | grep 'Up .* seconds'", timeout_s=600)
        host.kill()
        host.start()
        output, _ = run.communicate(timeout=900)
    assert "Traceback" not in output and "fault of Ingot" not in output, output[-6000:]
    assert run.returncode == 0 or f"{NAME}: " in output, output[-6000:]
    healed = deploy(NAME)
    assert healed.status == 0, healed.output[-6000:]
    host.succeeds("! grep draining /var/lib/ingot/upstreams.json")


def test_a_state_that_is_not_there_is_one_sentence(host: TestHost) -> None:
    done = ingot("rollback", NAME, "--to", "99")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"ingot: {NAME}: it keeps no state 99, expected one of those that")


def test_the_next_deploy_brings_what_the_repository_says(host: TestHost) -> None:
    back = deploy(NAME, data=['engine_extra_args=["--max-log-len", "64"]'])
    assert back.status == 0, back.output[-6000:]
    final = deploy(NAME)
    assert final.status == 0, final.output[-6000:]
