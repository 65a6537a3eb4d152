"""Whatever happens to the process that makes hosts: the next call heals, and `down_all` leaves nothing."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ingot.sandbox import Paths, Sandbox, SandboxError, machine, network

pytestmark = pytest.mark.e2e

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
    for process in Path("/proc").glob("[0-9]*"):
        try:
            told = (process / "cmdline").read_bytes() + (process / "mountinfo").read_bytes()
        except (FileNotFoundError, ProcessLookupError, OSError):
            continue
        if process.name != str(os.getpid()) and str(paths.state).encode() in told:
            found.append(f"process {process.name} or its mounts")
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
        deadline = time.monotonic() + 30
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


def processes(group: Path) -> list[int]:
    return [int(pid) for file in group.rglob("cgroup.procs") for pid in file.read_text().split()]


def name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except FileNotFoundError:
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
        hosts = list(pool.map(lambda name: sandbox.up(name, timeout_s=120), names))
    assert len({host.address for host in hosts}) == 8
    assert [host.succeeds("systemctl is-system-running") for host in hosts] == ["running\n"] * 8
    sandbox.down_all()
    assert leftovers(sandbox.paths) == []


def test_forwarding_is_as_before_when_the_last_sandbox_ends(sandbox: Sandbox, tmp_path: Path) -> None:
    before = [other.forward_before for other in network.existing()] or [network.IP_FORWARD.read_text().strip()]
    with_other = network.up(tmp_path / "other")
    ours = network.up(sandbox.paths.state)
    assert ours.bridge != with_other.bridge
    assert ours.forward_before == with_other.forward_before == before[0]
    network.down(tmp_path / "other")
    assert network.IP_FORWARD.read_text() == "1\n"
    network.down(sandbox.paths.state)
    expected = "1" if network.existing() else before[0]
    assert network.IP_FORWARD.read_text().strip() == expected
