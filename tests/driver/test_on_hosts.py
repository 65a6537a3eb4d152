"""The driver on real booted hosts: installed and loaded with as few interruptions as each machine allows."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest

from ingot.sandbox import Sandbox, TestHost
from tests.e2e.deploying import PYINFRA, ROOT, Run

pytestmark = [pytest.mark.e2e, pytest.mark.driver, pytest.mark.timeout(600)]

ROLES = "tests/driver/deploy_driver.py"
#: Host -> what its simulated hardware is.
HOSTS = {
    "driver-new": "rtx4090x1",
    "driver-old": "a10gx4",
    "driver-hgx": "h100x8",
    "driver-torn": "driver-mismatch",
    "driver-none": "none",
    "driver-lost": "gpu-lost",
}
SERVED = [name for name in HOSTS if name not in ("driver-none", "driver-lost")]
#: Deployed first, so that there is something to upgrade to.
OLDER, NEWER = "driver_version=580.159.03", "driver_version=580.173.02"
BOOT_ID = "cat /proc/sys/kernel/random/boot_id"


def command(*names: str, data: tuple[str, ...] = ()) -> list[str]:
    """`pyinfra -y` over these hosts with the roles up to the driver."""
    limits = [word for name in names for word in ("--limit", name)]
    values = [word for value in data for word in ("--data", value)]
    return [str(PYINFRA), "-y", "--json", "inventories/sandbox.py", ROLES, *limits, *values]


def run(*names: str, data: tuple[str, ...] = ()) -> Run:
    done = subprocess.run(
        command(*names, data=data), cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    start = done.stdout.find("{")
    payload = json.loads(done.stdout[start:]) if start >= 0 else {}
    operations = tuple((payload.get("results") or {"operations": []})["operations"])
    return Run(done.returncode, done.stdout + done.stderr, operations)


@pytest.fixture(scope="module")
def hosts() -> Iterator[dict[str, TestHost]]:
    sandbox = Sandbox()
    booted = {name: sandbox.up(name, profile=profile) for name, profile in HOSTS.items()}
    # As a cloud image leaves it: the same repository, described with another key.
    booted["driver-hgx"].put(
        "/etc/apt/sources.list.d/cuda-debian13-x86_64.list",
        "deb [signed-by=/usr/share/keyrings/cuda-archive-keyring.gpg] file:/srv/ingot-mirror/apt stable main\n",
    )
    yield booted
    for name in HOSTS:
        sandbox.down(name)


@pytest.fixture(scope="module")
def boots(hosts: dict[str, TestHost]) -> dict[str, str]:
    """Each host's boot before anything was deployed."""
    return {name: host.succeeds(BOOT_ID) for name, host in hosts.items()}


@pytest.fixture(scope="module")
def first(hosts: dict[str, TestHost], boots: dict[str, str]) -> Run:
    return run(*hosts, data=(OLDER,))


@pytest.mark.parametrize(
    ("name", "count"), [("driver-new", 1), ("driver-old", 4), ("driver-hgx", 8), ("driver-torn", 4)]
)
def test_every_gpu_answers(first: Run, hosts: dict[str, TestHost], name: str, count: int) -> None:
    rows = hosts[name].succeeds("nvidia-smi --query-gpu=persistence_mode --format=csv,noheader").split()
    assert rows == ["Enabled"] * count, first.output[-3000:]


@pytest.mark.parametrize(
    ("name", "rebooted"),
    [("driver-new", True), ("driver-old", False), ("driver-hgx", False), ("driver-torn", True)],
    ids=["nouveau held the card", "nothing held the cards", "switches change nothing", "the old driver was held"],
)
def test_a_host_reboots_only_where_it_must(
    first: Run, hosts: dict[str, TestHost], boots: dict[str, str], name: str, rebooted: bool
) -> None:
    assert (hosts[name].succeeds(BOOT_ID) != boots[name]) == rebooted, first.output[-3000:]


def test_a_fabric_manager_has_exactly_the_driver_s_version(first: Run, hosts: dict[str, TestHost]) -> None:
    said = hosts["driver-hgx"].succeeds(
        "dpkg-query -W -f='${Version}\\n' nvidia-driver-cuda nvidia-fabricmanager libnvidia-nscq"
        " | cut -d- -f1 | sort -u"
    )
    assert len(said.split()) == 1, first.output[-3000:]
    hosts["driver-hgx"].succeeds("systemctl is-active nvidia-fabricmanager")


def test_packages_are_held_and_left_alone_by_unattended_upgrades(first: Run, hosts: dict[str, TestHost]) -> None:
    host = hosts["driver-hgx"]
    held = host.succeeds("apt-mark showhold").split()
    assert {"nvidia-driver-cuda", "nvidia-kernel-open-dkms", "nvidia-fabricmanager"} <= set(held), first.output[-3000:]
    assert "nvidia-" in host.succeeds("apt-config dump Unattended-Upgrade::Package-Blacklist")


def test_the_decision_and_what_runs_are_kept_on_the_host(first: Run, hosts: dict[str, TestHost]) -> None:
    evidence = json.loads(hosts["driver-hgx"].succeeds("cat /var/lib/ingot/driver.json"))
    assert evidence["decided"]["fabric"] == "fabric-manager", first.output[-3000:]
    assert evidence["driver"]["version"] in evidence["packages"]["nvidia-fabricmanager"]
    assert all(reason["source"] for reason in evidence["reasons"])


@pytest.mark.parametrize(
    ("name", "words"),
    [("driver-none", ("no NVIDIA GPU", "take the host out")), ("driver-lost", ("GPU is lost", "power-cycle the host"))],
)
def test_a_host_whose_gpus_cannot_serve_fails_alone_in_one_sentence(
    first: Run, name: str, words: tuple[str, ...]
) -> None:
    said = [line for line in first.said_of(name) if all(word in line for word in words)]
    assert len(said) == 1, first.output[-3000:]
    assert first.status != 0
    assert "Traceback" not in first.output


def test_nothing_is_installed_where_there_is_no_gpu(first: Run, hosts: dict[str, TestHost]) -> None:
    hosts["driver-none"].fails("ls /etc/apt/sources.list.d/ingot-nvidia.sources")


def test_a_second_run_is_silent(first: Run, hosts: dict[str, TestHost]) -> None:
    again = run(*SERVED, data=(OLDER,))
    assert again.status == 0, again.output[-3000:]
    assert {name: again.changed(name) for name in SERVED} == {name: [] for name in SERVED}


def test_a_driver_in_use_is_not_touched(first: Run, hosts: dict[str, TestHost]) -> None:
    host = hosts["driver-old"]
    running = host.succeeds("cat /proc/driver/nvidia/version")
    host.succeeds("systemd-run --unit=gpu-user sh -c 'exec 3</dev/nvidia0; sleep 600'")
    refused = run("driver-old", data=(NEWER,))
    host.succeeds("systemctl stop gpu-user")
    assert refused.status != 0
    assert any("use the GPUs" in line and "driver_disrupt" in line for line in refused.said_of("driver-old"))
    assert host.succeeds("cat /proc/driver/nvidia/version") == running


def test_an_upgrade_swaps_the_module_without_a_reboot(first: Run, hosts: dict[str, TestHost]) -> None:
    host = hosts["driver-old"]
    boot = host.succeeds(BOOT_ID)
    changed = run("driver-old", data=(NEWER,))
    assert changed.status == 0, changed.output[-3000:]
    assert "580.173.02" in host.succeeds("cat /proc/driver/nvidia/version")
    assert host.succeeds("nvidia-smi -L").count("A10G") == 4
    assert host.succeeds(BOOT_ID) == boot


def test_power_lost_between_install_and_reboot_is_healed_by_the_next_run() -> None:
    host = Sandbox().up("driver-cut", profile="rtx4090x1")
    try:
        with subprocess.Popen(
            command("driver-cut"), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as one:
            host.wait_until_succeeds("modinfo -F version nvidia", timeout_s=90)
            host.kill()
            one.kill()
        host.start()
        healed = run("driver-cut")
        assert healed.status == 0, healed.output[-3000:]
        assert "NVIDIA GeForce RTX 4090" in host.succeeds("nvidia-smi -L")
        assert run("driver-cut").changed("driver-cut") == []
    finally:
        Sandbox().down("driver-cut")
