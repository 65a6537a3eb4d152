"""Whatever happens to the process that makes hosts: the next call heals, and `down_all` leaves nothing."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from ingot.sandbox import Paths, Sandbox, SandboxError, machine, network

pytestmark = pytest.mark.e2e

#: Every wait here is for a state; this much is only for what never comes.
LIMIT_S = 180

UP = """
import sys; from pathlib import Path; from ingot.sandbox import Paths, Sandbox
Sandbox(Paths(Path(sys.argv[1]), Path(sys.argv[2]))).up("gpu-01")
"""


def leftovers(paths: Paths) -> list[str]:
    """Every trace of a sandbox on this machine."""
    found = [f"file {paths.state}"] if paths.state.exists() else []
    if network.find(paths.state):
        found.append("bridge")
    if machine.cgroup(paths).exists():
        found.append("cgroup")
    return found + traces(paths.state)


def traces(path: Path) -> list[str]:
    """Processes that were started with a path, or see a mount of it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            told = (process / "cmdline").read_bytes() + (process / "mountinfo").read_bytes()
        except OSError:
            continue
        if process.name != str(os.getpid()) and str(path).encode() in told:
            found.append(f"process {process.name}")
    return found


def rules() -> str:
    return subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    "moment",
    [
        lambda paths: network.find(paths.state) is not None,
        lambda paths: (paths.host("gpu-01") / "host.json").exists(),
        lambda paths: (paths.host("gpu-01") / "upper/home").exists(),
        lambda paths: machine.cgroup(paths, "gpu-01").exists(),
        lambda paths: machine.running(paths, "gpu-01"),
    ],
    ids=["network made", "host begun", "disk half written", "about to boot", "booting"],
)
def test_a_killed_creator_is_healed_by_the_next_up(sandbox: Sandbox, moment: Callable[[Paths], bool]) -> None:
    argv = [sys.executable, "-c", UP, str(sandbox.paths.cache), str(sandbox.paths.state)]
    with subprocess.Popen(argv, stderr=subprocess.DEVNULL) as creator:
        deadline = time.monotonic() + LIMIT_S
        while not moment(sandbox.paths):
            assert creator.poll() is None
            assert time.monotonic() < deadline
        creator.send_signal(signal.SIGKILL)
    host = sandbox.up("gpu-01")
    assert host.succeeds("systemctl is-system-running") == "running\n"
    booted = [pid for pid in processes(machine.cgroup(sandbox.paths)) if name_of(pid) == "systemd-nspawn"]
    assert len(booted) == 1
    sandbox.down_all()
    assert leftovers(sandbox.paths) == []


@pytest.mark.parametrize("victim", ["sh", "systemd-nspawn"])
def test_a_host_whose_supervisor_was_killed_is_off_and_boots_again(sandbox: Sandbox, victim: str) -> None:
    host = sandbox.up("gpu-01")
    before = host.boot_id()
    group = machine.cgroup(sandbox.paths, "gpu-01")
    victims = [pid for pid in processes(group) if name_of(pid) == victim]
    assert len(victims) == 1
    os.kill(victims[0], signal.SIGKILL)
    deadline = time.monotonic() + LIMIT_S
    while host.is_running:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert sandbox.up("gpu-01").boot_id() != before
    assert len([pid for pid in processes(group) if name_of(pid) == "systemd-nspawn"]) == 1


def processes(group: Path) -> list[int]:
    found = []
    # A service of the guest may end, and its group with it, at any moment: os.walk passes over what is gone.
    for directory, _, _ in os.walk(group):
        with suppress(OSError):
            found += [int(pid) for pid in (Path(directory) / "cgroup.procs").read_text().split()]
    return found


def name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        # It ended meanwhile.
        return ""


def test_nothing_is_left_though_the_state_directory_was_lost(sandbox: Sandbox) -> None:
    tables = rules()
    sandbox.up("gpu-01")
    shutil.rmtree(sandbox.paths.state)
    sandbox.down_all()
    assert leftovers(sandbox.paths) == []
    assert rules() == tables


def test_down_all_again_and_of_nothing_is_quiet(sandbox: Sandbox) -> None:
    sandbox.down_all()
    sandbox.down_all()
    assert leftovers(sandbox.paths) == []


def test_the_last_host_takes_everything_with_it(sandbox: Sandbox) -> None:
    tables = rules()
    sandbox.up("gpu-01")
    assert rules() != tables
    sandbox.down("gpu-01")
    assert leftovers(sandbox.paths) == []
    assert rules() == tables


def test_a_host_is_not_silently_another_one(sandbox: Sandbox) -> None:
    sandbox.up("gpu-01", profile="none")
    with pytest.raises(SandboxError, match="gpu-01 was made with profile none on debian13, not a10gx4 on debian13"):
        sandbox.up("gpu-01", profile="a10gx4")


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    mount = tmp_path / "full"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(mount)], check=True)
    try:
        box = Sandbox(Paths(cache=Paths.from_environment().cache, state=mount / "state"))
        with pytest.raises(SandboxError, match="No space left on device"):
            box.up("gpu-01", profile="h100x8")
        box.down_all()
        assert leftovers(box.paths) == []
    finally:
        subprocess.run(["umount", str(mount)], check=True)


def test_eight_hosts_run_at_once(sandbox: Sandbox) -> None:
    names = [f"gpu-{number:02}" for number in range(1, 9)]
    sandbox.up(names[0])
    with ThreadPoolExecutor(4) as pool:
        hosts = list(pool.map(lambda name: sandbox.up(name, timeout_s=600), names))
    assert len({host.address for host in hosts}) == 8
    assert [host.succeeds("systemctl is-system-running") for host in hosts] == ["running\n"] * 8
    sandbox.down_all()
    assert leftovers(sandbox.paths) == []


def in_empty_network(code: str) -> str:
    """Run Python in a network namespace of its own, as on a machine where nothing else is."""
    start = 'mount -t sysfs none /sys && ip link set lo up && exec "$0" -c "$1"'
    argv = ["unshare", "--net", "--mount", "sh", "-c", start, sys.executable, NETWORK_NAMES + code]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


NETWORK_NAMES = """
from pathlib import Path; from ingot.sandbox import network; from ingot.sandbox.commands import run
def forwarding(): return network.IP_FORWARD.read_text().strip()
network.IP_FORWARD.write_text("0")
"""


def test_forwarding_goes_back_when_the_last_of_two_sandboxes_ends() -> None:
    code = """
one, two = network.up(Path("/one")), network.up(Path("/two"))
print(one.bridge, two.bridge, forwarding())
network.down(Path("/one"))
print(forwarding())
network.down(Path("/two"))
print(forwarding(), network.existing(), repr(run(["nft", "list", "ruleset"])))
"""
    assert in_empty_network(code).splitlines() == ["ingot0 ingot1 1", "1", "0 [] ''"]


IPTABLES = """#!/bin/sh
# Knows FORWARD with the policy that docker and ufw leave, and remembers rules.
shift
action=$1; shift
case $action in
  -S) echo "-P FORWARD DROP" ;;
  -C) grep -qxF -- "$*" "$0.rules" 2>/dev/null ;;
  -I) echo "$*" >> "$0.rules" ;;
  -D) grep -vxF -- "$*" "$0.rules" > "$0.new"; mv "$0.new" "$0.rules" ;;
esac
"""


def test_a_machine_that_forwards_nothing_forwards_for_hosts_only(tmp_path: Path) -> None:
    iptables = tmp_path / "iptables"
    iptables.write_text(IPTABLES)
    iptables.chmod(0o755)
    code = f"""
import os; os.environ["PATH"] = "{tmp_path}:" + os.environ["PATH"]
network.up(Path("/one")), network.up(Path("/one"))
print(Path("{iptables}.rules").read_text(), end="")
network.down(Path("/one"))
print("then", Path("{iptables}.rules").read_text(), end="")
"""
    assert in_empty_network(code).splitlines() == [
        "FORWARD -i ingot0 -j ACCEPT",
        "FORWARD -o ingot0 -j ACCEPT",
        "then ",
    ]


def test_a_bridge_that_a_killed_up_left_nameless_is_taken_or_removed() -> None:
    code = """
run(["ip", "link", "add", "ingot0", "type", "bridge"])
print(network.up(Path("/one")).bridge)
run(["ip", "link", "add", "ingot1", "type", "bridge"])
network.down(Path("/one"))
print(sorted(path.name for path in network.INTERFACES.glob("ingot*")), forwarding())
"""
    assert in_empty_network(code).splitlines() == ["ingot0", "[] 0"]


BUILD = """
import sys; from pathlib import Path; from ingot.sandbox import Paths, image
image.ensure(Paths(Path(sys.argv[1]), Path("/nowhere")), "debian13", print)
"""


def test_a_killed_build_ends_with_its_mounts_and_is_no_image(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", BUILD, str(tmp_path)], stdout=subprocess.DEVNULL) as builder:
        deadline = time.monotonic() + LIMIT_S
        while not list(tmp_path.glob("images/building-*/root/usr/bin")):
            assert builder.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        builder.kill()
    deadline = time.monotonic() + LIMIT_S
    while traces(tmp_path):
        assert time.monotonic() < deadline, traces(tmp_path)
        time.sleep(0.1)
    assert [path.name.partition("-")[0] for path in (tmp_path / "images").iterdir()] == ["building"]
    shutil.rmtree(tmp_path / "images")
