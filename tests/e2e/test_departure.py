"""A host leaves: drained, emptied of Ingot's things and nobody else's, out of the inventory. Nothing can follow it."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingot.sandbox import Sandbox, TestHost
from tests.e2e.deploying import INGOT, ROOT, deploy
from tests.hosts.https import Caller

pytestmark = [pytest.mark.e2e, pytest.mark.onboarding, pytest.mark.timeout(1800)]

NAME = "e2e"
INVENTORY = """from pathlib import Path

from ingot.inventory.host_files import load

globals().update(load(Path(__file__).parent / "lab").groups())
"""
OURS = (
    "/etc/ingot /var/lib/ingot /etc/nginx/ingot /var/log/ingot /run/ingot /etc/systemd/system/ingot-engine.service "
    "/etc/apt/sources.list.d/ingot-* /etc/apt/keyrings/ingot-* /etc/apt/preferences.d/ingot-* "
    "/etc/apt/apt.conf.d/51ingot-* /etc/modprobe.d/ingot-* /etc/logrotate.d/ingot*"
)


def decommission(inventory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [str(INGOT), "decommission", NAME, "--inventory", str(inventory), *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False, input="")


@pytest.fixture(scope="module")
def served(host: TestHost, key: str) -> Iterator[TestHost]:
    run = deploy(NAME)
    assert run.status == 0, run.output[-6000:]
    yield host
    # Whoever deploys this host next is not to meet the site of somebody else.
    host.succeeds("rm -f /etc/nginx/conf.d/theirs.conf; ! systemctl is-active -q nginx || systemctl reload nginx")


@pytest.fixture(scope="module")
def inventory(served: TestHost, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An inventory of files that has the test host, and another."""
    root = tmp_path_factory.mktemp("fleet")
    shutil.copytree(ROOT / "group_data", root / "group_data")
    members = root / "inventories" / "lab"
    members.mkdir(parents=True)
    (members / f"{NAME}.yaml").write_text(
        f"address: {served.address}\nuser: {served.user}\nssh_key: {served.key_path}\n"
    )
    (members / "other.yaml").write_text("address: 192.0.2.1\n")
    (members / "known_hosts").write_text("192.0.2.1 ssh-ed25519 AAAA\n" + served.known_hosts_path.read_text())
    (members.parent / "lab.py").write_text(INVENTORY)
    yield members.parent / "lab.py"


def test_a_dry_run_shows_what_would_be_done_and_changes_nothing(served: TestHost, inventory: Path) -> None:
    served.succeeds(
        "docker run --detach --name theirs --entrypoint sleep $(docker image ls --quiet | head -n 1) 100000; "
        "mkdir -p /etc/nginx/conf.d && echo 'server { listen 8099; }' >/etc/nginx/conf.d/theirs.conf"
    )
    dry = decommission(inventory, "--dry")
    assert dry.returncode == 0 and "stop and remove ingot-engine-tiny-qwen3-0" in dry.stdout, dry.stderr
    assert "leave Docker, its daemon.json and the container toolkit (container theirs in it is not" in dry.stdout
    served.succeeds("docker ps --quiet | grep . && test -f /etc/ingot/engine/compose.yaml && systemctl is-active nginx")
    assert (inventory.parent / "lab" / f"{NAME}.yaml").exists()


def test_a_running_answer_ends_and_a_new_request_is_sent_away(served: TestHost, inventory: Path, key: str) -> None:
    """The operator's machine dies while the host is drained; the next run finishes."""
    served.succeeds("docker rm --force theirs")
    caller = Caller(served.address, NAME, Sandbox().secrets_dir / "ca.crt", key)
    body = {"model": "tiny-qwen3", "prompt": "Hello", "max_tokens": 600, "ignore_eos": True, "stream": True}
    events: list[str] = []
    asking = threading.Thread(target=lambda: events.extend(data for _, data in caller.stream("/v1/completions", body)))
    asking.start()
    deadline = time.monotonic() + 120
    while not events:
        assert time.monotonic() < deadline and asking.is_alive(), "no answer begins"
        time.sleep(0.05)
    command = [str(INGOT), "decommission", NAME, "--inventory", str(inventory), "--yes"]
    run = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 180
    while (answer := caller.get("/v1/models")).status != 503:
        assert time.monotonic() < deadline, "new requests are still taken"
    run.kill()
    run.wait()
    asking.join()
    assert answer.headers["Retry-After"] and events[-1] == "[DONE]", events[-2:]
    assert (inventory.parent / "lab" / f"{NAME}.yaml").exists()


def test_what_is_ingots_goes_and_what_is_others_stays(served: TestHost, inventory: Path) -> None:
    done = decommission(inventory, "--yes", "--wipe-keys", "--wipe-models")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "leave nginx (/etc/nginx/conf.d/theirs.conf is not Ingot's)" in done.stdout
    assert served.run(f"ls --directory {OURS} 2>/dev/null")[1] == ""
    served.fails("dpkg-query -W -f='${db:Status-Abbrev}\\n' nvidia-driver-cuda docker.io runc | grep '^[ih]i'")
    served.fails("find /srv/models -name '*.safetensors' | grep .")
    served.succeeds("curl -s -o /dev/null http://127.0.0.1:8099/ && ! grep -q 'Written by Ingot' /etc/nginx/nginx.conf")
    served.succeeds('apt-get check && test -z "$(systemctl --failed --no-legend)"')


def test_the_inventory_has_the_others_left(inventory: Path) -> None:
    assert sorted(path.name for path in (inventory.parent / "lab").iterdir()) == ["known_hosts", "other.yaml"]
    assert (inventory.parent / "lab" / "known_hosts").read_text() == "192.0.2.1 ssh-ed25519 AAAA\n"


def test_a_dead_host_leaves_the_inventory_alone(inventory: Path) -> None:
    command = [str(INGOT), "decommission", "other", "--inventory", str(inventory), "--inventory-only", "--yes"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (inventory.parent / "lab").iterdir()] == ["known_hosts"]
