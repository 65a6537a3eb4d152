"""The driver on real booted hosts: installed and loaded with as few interruptions as each machine allows."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from ingot.facts.gateway import ENGINES
from ingot.gateway.upstreams import UPSTREAMS_FILE, Upstream, upstreams_json
from ingot.sandbox import Sandbox, TestHost, simulated
from tests.driver.deploying import command, run
from tests.e2e.deploying import ROOT, Run

pytestmark = [pytest.mark.e2e, pytest.mark.driver, pytest.mark.timeout(1800)]

#: Host -> what its simulated hardware is.
HOSTS = {
    "driver-new": "rtx4090x1",
    "driver-old": "a10gx4",
    "driver-hgx": "h100x8",
    "driver-mixed": "rtx3090+3060",
    "driver-torn": "driver-mismatch",
    "driver-none": "none",
    "driver-lost": "gpu-lost",
    "driver-unbuilt": "v100x1",
}
SERVED = [name for name in HOSTS if name not in ("driver-none", "driver-lost", "driver-unbuilt")]
#: Loses its power in the middle of a run of its own.
CUT = "driver-cut"
#: Deployed first, so that there is something to upgrade to.
OLDER, NEWER = "driver_version=580.159.03", "driver_version=580.173.02"
BOOT_ID = "cat /proc/sys/kernel/random/boot_id"
#: Every package with its version and hold, and what dpkg has in no whole state.
PACKAGES = "{ dpkg-query -W -f '${db:Status-Abbrev} ${binary:Package} ${Version}\\n'; dpkg --audit; }"
ERROR = "nvidia/nv-mmap.c:128:9: error: implicit declaration of function 'vm_flags_set'"
BUILD_FAULT = {
    "kernels": ".*",
    "versions": ".*",
    "message": f"/var/lib/dkms/nvidia/580/build/{ERROR}\nnvidia/nv.c:7:1: error: a second one",
}

#: A replica as the driver role meets it: a container with a GPU, of the Compose project that the engine's unit starts.
#: In place of an engine it writes down, when it is told to stop, which driver runs and what the gateway's pool says.
REPLICA = """import signal, sys
gpu = open("/dev/nvidia0")
def stop(*_):
    version = open("/driver/nvidia/version").read().split("x86_64  ")[1].split()[0]
    pool = "drained" if "draining" in open("/ingot/upstreams.json").read() else "in the pool"
    print(version, pool, file=open("/out/stopped", "a"))
    sys.exit()
signal.signal(signal.SIGTERM, stop)
while True: signal.pause()
"""
COMPOSE = """name: ingot-engine
services:
  replica:
    image: replica
    command: [python3, /replica.py]
    network_mode: none
    restart: unless-stopped
    stop_grace_period: 20s
    devices: ["/dev/nvidia0:/dev/nvidia0"]
    volumes:
      - /root/replica.py:/replica.py:ro
      - /root/out:/out
      - /var/lib/ingot:/ingot:ro
      - {type: bind, source: /proc/driver, target: /driver, read_only: true}
"""
ENGINE = """[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/docker compose --file /etc/ingot/engine/compose.yaml up --detach --no-build --pull never
"""
DOCKER = """export DEBIAN_FRONTEND=noninteractive
apt-get install -y --no-install-recommends docker.io docker-cli docker-compose
cd / && tar -c --exclude __pycache__ bin lib lib64 usr/lib64 usr/bin/python3* usr/lib/python3.* \\
$(for name in ld-linux libc. libm. libz. libexpat.; do echo usr/lib/*-linux-gnu/$name*; done) | docker import - replica
"""

#: Another package manager that has apt's lock until a run wants to install, and a while longer; and unattended upgrades
#: that try all the time.
HOLDER = """import fcntl, os, time
lock = open("/var/lib/dpkg/lock-frontend", "w")
fcntl.lockf(lock, fcntl.LOCK_EX)
began = time.time()
def installing():
    try:
        return os.stat("/run/ingot/ingot-packages").st_ctime > began
    except FileNotFoundError:
        return False
while not installing() and time.time() < began + 250:
    time.sleep(0.2)
time.sleep(6)
"""
UNATTENDED = """while :; do
  unattended-upgrade --verbose >>/root/unattended 2>&1; echo "tried $?" >>/root/unattended; sleep 6
done
"""
#: Nothing of Debian's own: only the driver's repository is of interest here.
ORIGIN = """#clear Unattended-Upgrade::Origins-Pattern;
Unattended-Upgrade::Origins-Pattern { "origin=ingot-sandbox"; };
"""


def boot(name: str, profile: str) -> TestHost:
    host = Sandbox().up(name, profile=profile)
    if name == "driver-unbuilt":
        host.succeeds(simulated.set_command("build_fault", BUILD_FAULT))
        host.succeeds("apt-get install -y --no-install-recommends unattended-upgrades", timeout_s=600)
        host.succeeds(f"{PACKAGES} >/root/before")
    return host


@pytest.fixture(scope="module")
def hosts() -> Iterator[dict[str, TestHost]]:
    machines = {**HOSTS, CUT: HOSTS["driver-new"]}
    with ThreadPoolExecutor() as pool:
        booted = dict(zip(machines, pool.map(boot, machines, machines.values()), strict=True))
    # As a cloud image leaves it: the same repository, described with another key.
    booted["driver-hgx"].put(
        "/etc/apt/sources.list.d/cuda-debian13-x86_64.list",
        "deb [signed-by=/usr/share/keyrings/cuda-archive-keyring.gpg] file:/srv/ingot-mirror/apt stable main\n",
    )
    yield booted
    for name in machines:
        Sandbox().down(name)


@pytest.fixture(scope="module")
def boots(hosts: dict[str, TestHost]) -> dict[str, str]:
    """Each host's boot before anything was deployed."""
    return {name: hosts[name].succeeds(BOOT_ID) for name in HOSTS}


@pytest.fixture(scope="module")
def first(hosts: dict[str, TestHost], boots: dict[str, str]) -> Run:
    return run(*HOSTS, data=(OLDER,))


@pytest.mark.parametrize(
    ("name", "count"),
    [("driver-new", 1), ("driver-old", 4), ("driver-hgx", 8), ("driver-mixed", 2), ("driver-torn", 4)],
)
def test_every_gpu_answers(first: Run, hosts: dict[str, TestHost], name: str, count: int) -> None:
    rows = hosts[name].succeeds("nvidia-smi --query-gpu=persistence_mode --format=csv,noheader").split()
    assert rows == ["Enabled"] * count, first.output[-3000:]


@pytest.mark.parametrize(
    ("name", "rebooted"),
    [
        ("driver-new", True),
        ("driver-old", False),
        ("driver-hgx", False),
        ("driver-mixed", False),
        ("driver-torn", True),
    ],
    ids=[
        "nouveau held the card",
        "nothing held the cards",
        "switches change nothing",
        "different cards change nothing",
        "the old driver was held",
    ],
)
def test_a_host_reboots_only_where_it_must(
    first: Run, hosts: dict[str, TestHost], boots: dict[str, str], name: str, rebooted: bool
) -> None:
    now = hosts[name].succeeds(BOOT_ID)
    told = [line for line in first.output.splitlines() if f"[{name}]" in line]
    console = hosts[name].console_path.read_text(errors="replace")
    assert (now != boots[name]) == rebooted, f"{chr(10).join(told)}\n\n{console[-2000:]}"


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


@pytest.fixture(scope="module")
def replica(first: Run, hosts: dict[str, TestHost]) -> TestHost:
    """A host that serves with the older driver."""
    host = hosts["driver-old"]
    host.succeeds(DOCKER, timeout_s=600)
    host.put("/root/replica.py", REPLICA)
    host.put("/etc/systemd/system/ingot-engine.service", ENGINE)
    host.put("/etc/ingot/engine/compose.yaml", COMPOSE)
    host.put(UPSTREAMS_FILE, upstreams_json((Upstream("tiny", ("127.0.0.1:9",)),)))
    host.put(ENGINES, "")
    host.succeeds("systemctl daemon-reload && systemctl start ingot-engine")
    host.succeeds(SERVING)
    return host


LOOKS = ("cat /proc/driver/nvidia/version", "nvidia-smi -L", f"cat {UPSTREAMS_FILE}")
SERVING = "docker ps --quiet --filter label=com.docker.compose.project=ingot-engine --filter status=running | grep ."


def stopped_under(host: TestHost) -> list[str]:
    """The driver that ran each time the replica was stopped."""
    return host.succeeds("cat /root/out/stopped; rm /root/out/stopped").splitlines()


def test_a_module_that_does_not_build_leaves_the_old_driver_serving(replica: TestHost) -> None:
    before = {look: replica.succeeds(look) for look in (PACKAGES, *LOOKS)}
    replica.succeeds(simulated.set_command("build_fault", BUILD_FAULT))
    failed = run("driver-old", data=(NEWER, "driver_disrupt=true"))
    replica.succeeds(simulated.set_command("build_fault", None))
    assert failed.status != 0
    assert sum("driver 580.159.03 goes on" in line for line in failed.said_of("driver-old")) == 1, failed.output[-3000:]
    assert {look: replica.succeeds(look) for look in before} == before
    assert stopped_under(replica) == ["580.159.03 drained"]
    replica.succeeds(f"{SERVING} && systemctl is-active nvidia-persistenced")


def test_a_module_that_the_kernel_refuses_gives_way_to_the_old_one(replica: TestHost) -> None:
    before = {look: replica.succeeds(look) for look in (PACKAGES, *LOOKS)}
    replica.succeeds(simulated.set_command("load_fault", "580[.]173[.]02"))
    failed = run("driver-old", data=(NEWER, "driver_disrupt=true"))
    replica.succeeds(simulated.set_command("load_fault", None))
    assert failed.status != 0
    said = [line for line in failed.said_of("driver-old") if "driver 580.173.02 is installed and does not run" in line]
    assert len(said) == 1 and "driver 580.159.03 goes on" in said[0], failed.output[-3000:]
    assert {look: replica.succeeds(look) for look in before} == before
    assert stopped_under(replica) == ["580.159.03 drained"]
    replica.succeeds(f"{SERVING} && systemctl is-active nvidia-persistenced")


def test_an_upgrade_stops_the_replicas_and_swaps_the_module_without_a_reboot(replica: TestHost) -> None:
    boot, held = replica.succeeds(BOOT_ID), replica.succeeds("apt-mark showhold")
    changed = run("driver-old", data=(NEWER, "driver_disrupt=true"))
    assert changed.status == 0, changed.output[-3000:]
    assert "580.173.02" in replica.succeeds("cat /proc/driver/nvidia/version")
    assert replica.succeeds("nvidia-smi -L").count("A10G") == 4
    assert (replica.succeeds(BOOT_ID), replica.succeeds("apt-mark showhold")) == (boot, held)
    assert stopped_under(replica) == ["580.159.03 drained"]
    replica.fails("ls /var/lib/ingot/driver-before")


def test_a_branch_is_changed_forward_and_back_in_place(first: Run, hosts: dict[str, TestHost]) -> None:
    host = hosts["driver-mixed"]
    # Configuration files of the other branch's pin stay, as dpkg leaves them.
    before = {look: host.succeeds(look) for look in (f"{PACKAGES} | grep '^[hi]i '", BOOT_ID)}
    for wished in (("driver_branch=595", "driver_version=595.71.05"), (OLDER,)):
        changed = run("driver-mixed", data=wished)
        assert changed.status == 0, changed.output[-3000:]
        assert f"  {wished[-1].partition('=')[2]}  " in host.succeeds("cat /proc/driver/nvidia/version")
        assert host.succeeds("nvidia-smi -L").count("GPU-") == 2
    assert {look: host.succeeds(look) for look in before} == before


#: A manager that does not start with the newer driver, as when its package is damaged.
BROKEN_MANAGER = """[Service]
ExecStartPre=/bin/sh -c '! grep -q 580.173.02 /proc/driver/nvidia/version'
"""


def test_a_fabric_manager_that_does_not_start_with_the_new_driver_brings_the_old_one_back(
    first: Run, hosts: dict[str, TestHost]
) -> None:
    host = hosts["driver-hgx"]
    fabric = "nvidia-smi --query-gpu=driver_version,fabric.state --format=csv,noheader | sort -u"
    before = {look: host.succeeds(look) for look in (PACKAGES, fabric, BOOT_ID)}
    assert before[fabric] == "580.159.03, Completed\n"
    host.put("/etc/systemd/system/nvidia-fabricmanager.service.d/broken.conf", BROKEN_MANAGER)
    failed = run("driver-hgx", data=(NEWER,))
    host.succeeds("rm -r /etc/systemd/system/nvidia-fabricmanager.service.d && systemctl daemon-reload")
    assert failed.status != 0
    said = [line for line in failed.said_of("driver-hgx") if "nvidia-fabricmanager.service does not start" in line]
    assert len(said) == 1 and "driver 580.159.03 goes on" in said[0], failed.output[-3000:]
    host.wait_until_succeeds(f"{fabric} | grep -qx '580.159.03, Completed'")
    assert {look: host.succeeds(look) for look in before} == before
    host.succeeds("systemctl is-active nvidia-fabricmanager nvidia-persistenced")


def test_a_module_that_does_not_build_is_said_with_kernel_error_and_remedy(
    first: Run, hosts: dict[str, TestHost]
) -> None:
    host = hosts["driver-unbuilt"]
    said = [line for line in first.said_of("driver-unbuilt") if "does not build" in line]
    assert len(said) == 1, first.output[-3000:]
    kernel = host.succeeds("uname -r").strip()
    for words in (f"module nvidia 580.159.03 does not build for kernel {kernel}", ERROR, "set driver_version"):
        assert words in said[0]
    (log,) = re.findall(r"log is (\S+)", said[0])
    assert "a second one" in host.succeeds(f"cat {log}")


def test_a_module_that_does_not_build_leaves_no_package_behind(first: Run, hosts: dict[str, TestHost]) -> None:
    assert hosts["driver-unbuilt"].succeeds(f"{PACKAGES} | diff /root/before -") == "", first.output[-3000:]
    hosts["driver-unbuilt"].fails("ls /etc/modprobe.d/ingot-nvidia.conf /etc/apt/preferences.d/nvidia-driver-pinning")


def test_a_wrong_flavour_is_refused_before_anything_changes(first: Run, hosts: dict[str, TestHost]) -> None:
    refused = run("driver-unbuilt", data=(OLDER, "driver_flavour=open"))
    assert refused.status != 0
    said = [line for line in refused.said_of("driver-unbuilt") if "driver_flavour 'open'" in line]
    assert len(said) == 1 and "expected 'proprietary'" in said[0], refused.output[-3000:]
    assert hosts["driver-unbuilt"].succeeds(f"{PACKAGES} | diff /root/before -") == ""


@pytest.fixture(scope="module")
def remedied(first: Run, hosts: dict[str, TestHost]) -> Run:
    """The run after the remedy, while others want apt too."""
    host = hosts["driver-unbuilt"]
    host.put("/etc/apt/apt.conf.d/60this-origin", ORIGIN)
    host.put("/root/holder.py", HOLDER)
    host.put("/root/unattended.sh", UNATTENDED)
    host.succeeds(simulated.set_command("build_fault", None))
    host.succeeds("systemd-run --unit=holder python3 /root/holder.py; systemd-run --unit=tries sh /root/unattended.sh")
    done = run("driver-unbuilt", data=(OLDER,))
    host.succeeds("systemctl stop tries")
    return done


def test_the_run_after_the_remedy_waits_for_apt_s_lock_and_succeeds(remedied: Run, hosts: dict[str, TestHost]) -> None:
    host = hosts["driver-unbuilt"]
    assert remedied.status == 0, remedied.output[-3000:]
    assert any("holds the package manager; the run waits for it" in line for line in remedied.said_of(host.name))
    assert "V100" in host.succeeds("nvidia-smi -L")
    assert "NVIDIA UNIX x86_64 Kernel Module" in host.succeeds("cat /proc/driver/nvidia/version")


def test_unattended_upgrades_during_the_run_move_nothing(remedied: Run, hosts: dict[str, TestHost]) -> None:
    host = hosts["driver-unbuilt"]
    # One more try without the pin, so that the hold alone stands against the newer version of the repository.
    host.succeeds("unattended-upgrade && apt-get -y -o Dir::Etc::PreferencesParts=/none dist-upgrade", timeout_s=600)
    assert "tried " in host.succeeds("cat /root/unattended"), remedied.output[-3000:]
    installed = [line.split() for line in host.succeeds(PACKAGES).splitlines() if "nvidia" in line or "libcuda" in line]
    assert {version.partition("-")[0] for _, _, version in installed} == {"580.159.03"}
    assert {name for status, name, _ in installed if status == "hi"} >= {"nvidia-driver-cuda", "nvidia-kernel-dkms"}


@pytest.fixture(scope="module")
def cut(hosts: dict[str, TestHost]) -> TestHost:
    """A host that lost its power between install and reboot."""
    host = hosts[CUT]
    with subprocess.Popen(command(CUT), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as one:
        host.wait_until_succeeds("modinfo -F version nvidia", timeout_s=90)
        host.kill()
        one.kill()
    host.start()
    return host


def test_power_lost_between_install_and_reboot_is_healed_by_the_next_run(cut: TestHost) -> None:
    healed = run(CUT)
    assert healed.status == 0, healed.output[-3000:]
    assert "NVIDIA GeForce RTX 4090" in cut.succeeds("nvidia-smi -L")
    assert run(CUT).changed(CUT) == []
