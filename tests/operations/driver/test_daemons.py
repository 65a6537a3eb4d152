"""What is stopped while the driver changes, and started again: told from /proc, by units, containers and sessions."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ingot.operations.driver import transaction

pytestmark = [pytest.mark.driver, pytest.mark.found]

CONTAINER, OLDER = "4f" * 32, "3e" * 32
#: Name, cgroup, and what it is stopped as; None for one that is left alone.
PROCESSES = {
    11: ("nv-hostengine", "0::/system.slice/nvidia-dcgm.service", "unit nvidia-dcgm.service"),
    12: ("dcgm-exporter", f"0::/system.slice/docker-{CONTAINER}.scope", f"container {CONTAINER}"),
    13: ("nvidia_gpu_expo", f"12:devices:/x\n1:name=systemd:/docker/{OLDER}", f"container {OLDER}"),
    14: ("nvtop", "0::/user.slice/user-1000.slice/session-3.scope", "process 14"),
    15: ("nvitop", "0::/user.slice/user-1000.slice/user@1000.service/app.slice/x.scope", "process 15"),
    16: ("node_exporter", "0::/system.slice/my-exporter.service/worker", "unit my-exporter.service"),
    17: ("python3", "0::/system.slice/training.service", None),
    18: ("VLLM::EngineCor", f"0::/system.slice/docker-{CONTAINER[:-2]}11.scope", None),
}  # fmt: skip


def run(tmp_path: Path, call: str) -> str:
    """A function of daemons.sh on a host with these processes; what it would run is printed."""
    for pid, (name, cgroup, _) in PROCESSES.items():
        directory = tmp_path / f"proc/{pid}"
        if not directory.exists():
            (directory / "fd").mkdir(parents=True)
            (directory / "fd/3").symlink_to("/dev/nvidia0")
            (directory / "comm").write_text(name + "\n")
            (directory / "cgroup").write_text(cgroup + "\n")
    script = transaction.with_daemons(call).replace("/proc/", f"{tmp_path}/proc/")
    script = script.replace("/var/lib/ingot/driver-stopped", f"{tmp_path}/stopped")
    # One of the driver's own daemons runs, and every command but these is only written down.
    stubs = (
        'systemctl() { case "$1 $3" in "is-active nvidia-persistenced") return 0;; "is-active "*) return 1;; '
        '"cat "*) return 0;; esac; echo "systemctl $*"; }\n'
        'docker() { echo "docker $*" >&2; }\nkill() { echo "kill $*"; }\n'
    )
    done = subprocess.run(["sh", "-c", stubs + script], capture_output=True, text=True, check=True)
    return done.stdout + done.stderr


def test_readers_are_told_by_where_they_belong(tmp_path: Path) -> None:
    assert set(run(tmp_path, "watching").splitlines()) == {how for *_, how in PROCESSES.values() if how}


def test_what_was_stopped_is_started_and_forgotten(tmp_path: Path) -> None:
    stopped = run(tmp_path, "remember_daemons; stop_daemons")
    remembered = (tmp_path / "stopped").read_text().splitlines()
    assert "unit nvidia-persistenced.service" in remembered and "unit nvidia-dcgm.service" in remembered
    assert not any(line.startswith("process ") for line in remembered), "a session's program is its owner's to start"
    for line in ("kill 14", "systemctl stop nvidia-dcgm.service", f"docker stop {CONTAINER}"):
        assert line in stopped
    assert "training" not in stopped and "kill 17" not in stopped
    # A run that was killed here is healed by the next, which still knows all of them.
    assert run(tmp_path, "remember_daemons") == ""
    assert (tmp_path / "stopped").read_text().splitlines() == remembered
    started = run(tmp_path, "start_daemons")
    assert "systemctl start my-exporter.service" in started and f"docker start {CONTAINER}" in started
    assert not (tmp_path / "stopped").exists()
    assert run(tmp_path, "start_daemons") == ""
