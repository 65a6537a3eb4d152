"""A deployed host is proven by one command, and what somebody changes on it is named. The tests run in order."""

from __future__ import annotations

import json
import os
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from ingot.sandbox import Sandbox, TestHost
from ingot.secrets import verify_key
from tests.e2e.deploying import INGOT, ROOT, deploy
from tests.e2e.test_deploy import ask

pytestmark = [pytest.mark.e2e, pytest.mark.onboarding, pytest.mark.timeout(1800)]

NAME = "e2e"
#: What somebody does to a host -> words of the line by which `ingot drift` names it; and of `ingot verify`'s sentence,
#: where a promise is broken by it.
SABOTAGE = {
    # First, since it notes what it sees every few seconds.
    "systemctl stop ingot-replica-watch.timer ingot-replica-watch.service": (
        "Engine: start ingot-replica-watch.timer",
        "ingot-replica-watch.timer, which watches the GPUs, is",
    ),
    "echo '# mine' >>/etc/nginx/nginx.conf": ("Gateway: write /etc/nginx/nginx.conf", None),
    "sed -i '1d' /etc/nginx/ingot/keys.map": ("Gateway: write /etc/nginx/ingot/keys.map (secret", None),
    "apt-mark unhold nvidia-persistenced": ("Driver: hold nvidia-persistenced", "not held back from upgrades"),
    "systemctl stop nvidia-persistenced": ("Driver: start nvidia-persistenced", "nvidia-persistenced is inactive"),
    "rm /etc/apt/apt.conf.d/51ingot-nvidia": ("Driver: write /etc/apt", "unattended upgrades may change nvidia-"),
    "systemctl stop ingot-engine.service": ("Engine: start ingot-engine.service", "ingot-engine.service, which starts"),
    "sed -i s/max-file/max_file/ /etc/ingot/engine/compose.yaml": ("Engine: write /etc/ingot/engine/comp", None),
    "chmod 0666 /etc/docker/daemon.json": ("Docker: set /etc/docker/daemon.json to", "everyone may write"),
    "usermod -aG docker ops": (None, "users in group docker, which is root on the host: ops"),
    "systemd-run --unit=mine python3 -m http.server 8081": (None, "reachable besides SSH and the gateway: python3"),
    "touch /srv/models/tiny-qwen3/bf16/*/config.json": ("Cache: fetch tiny-qwen3", "/srv/models/tiny-qwen3/bf16"),
}  # fmt: skip
MEND = "gpasswd --delete ops docker; systemctl stop mine"
#: Everything that a dry run must leave alone: files of ours, units, containers, packages' marks.
STATE = (
    "find /etc /var/lib/ingot /srv/models -xdev -type f -printf '%p %s %T@ %m\\n' | sort | sha256sum; "
    "systemctl list-units --type=service --state=active --plain --no-legend | awk '{ print $1 }' | sort; "
    "docker ps --no-trunc --quiet; apt-mark showhold"
)


def ingot(*words: str) -> subprocess.CompletedProcess[str]:
    """`ingot …`, to its end, without a key in its environment."""
    environment = {key: value for key, value in os.environ.items() if key != "INGOT_API_KEY"}
    return subprocess.run(
        [str(INGOT), *words], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False
    )


@pytest.fixture(scope="module")
def served(host: TestHost, key: str) -> TestHost:
    run = deploy(NAME)
    assert run.status == 0, run.output[-6000:]
    return host


def test_a_serving_host_is_accepted_and_serves_again(served: TestHost, key: str) -> None:
    done = ingot("accept", NAME, "--level", "quick", "--hours", "0.002")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(served.succeeds("cat /var/lib/ingot/acceptance.json"))["verdict"] in ("pass", "warn")
    assert ask(served, key)


def test_a_deployed_host_is_proven_with_no_other_step(served: TestHost, tmp_path: Path) -> None:
    done = ingot("verify", NAME, "--daemon-reload", "--evidence", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    (record,) = json.loads((tmp_path / "verify.json").read_text())["hosts"].values()
    assert record["failed"] == 0 and record["passed"] > 90 and record["trouble"] is None
    suite = ET.parse(tmp_path / "verify.xml").getroot()[0]
    # What a host does not have is left out: here monitoring, since nobody watches this inventory.
    assert int(suite.attrib["tests"]) - int(suite.attrib["skipped"]) == record["passed"]
    assert suite.attrib["failures"] == "0"
    secret = verify_key.read(Sandbox().secrets_dir)
    assert secret and not any(secret in file.read_text() for file in tmp_path.iterdir())


def test_a_host_as_the_repository_says_has_no_drift(served: TestHost) -> None:
    done = ingot("drift", NAME)
    assert (done.returncode, done.stdout) == (0, "1 of 1 hosts are as the repository says.\n"), done.stderr


def test_its_status_shows_the_replica_that_serves(served: TestHost) -> None:
    done = ingot("status", NAME, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    (host,) = json.loads(done.stdout)["hosts"]
    (model,) = host["models"]
    assert (host["host"], model["model"], model["serving"], model["replicas"]) == (NAME, "tiny-qwen3", 1, 1)
    assert (model["running"], model["waiting"], model["generated_per_s"], model["wrong"]) == (0, 0, 0, [])
    assert 0 <= model["kv_used"] < 0.01


def test_every_change_on_a_host_is_named_and_nothing_is_changed_by_looking(served: TestHost) -> None:
    served.succeeds(" && ".join(SABOTAGE))
    before = served.succeeds(STATE)
    drift = ingot("drift", NAME)
    assert served.succeeds(STATE) == before
    assert drift.returncode == 1, drift.stderr
    unnamed = [words for words, _ in SABOTAGE.values() if words and f"{NAME}: {words}" not in drift.stdout]
    assert not unnamed, drift.stdout
    verify = ingot("verify", NAME)
    assert verify.returncode == 1, verify.stderr
    unsaid = [words for _, words in SABOTAGE.values() if words and f"\n{NAME}: {words}" not in verify.stdout]
    assert not unsaid, verify.stdout


def test_a_deploy_undoes_the_drift(served: TestHost) -> None:
    served.succeeds(MEND)
    run = deploy(NAME)
    assert run.status == 0, run.output[-6000:]
    assert ingot("drift", NAME).returncode == 0
