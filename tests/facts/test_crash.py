"""What is known of an engine that ended by itself: from Docker, its log, the kernel and the processor."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from ingot.facts.crash import Crash, ReplicaCrash, parse_crash

# What Docker 26 prints of a container that was restarted after its program got SIGILL.
DOCKER = """#!/bin/sh
case "$*" in
  *State.Status*) echo "running 0 false" ;;
  *Created*) echo "2026-11-28T20:00:00.123456789Z" ;;
  events*) echo "$*" >>"$0.asked"; echo "die 137"; echo "die 132" ;;
  logs*) echo "INFO: ready"; echo "Fatal Python error: Illegal instruction"; echo "EngineDeadError" >&2 ;;
esac
"""
DMESG = """#!/bin/sh
echo "[   12.000001] traps: python3[7] trap invalid opcode ip:1 sp:2 error:0 in old.so[1]"
echo "[ 9990.5] traps: VLLM::EngineCor[4411] trap invalid opcode ip:7f sp:7e error:0 in _C.abi3.so[7f+1]"
echo "[ 9991.5] traps: nginx[8] general protection"
"""
CPUINFO = "processor\t: 0\nmodel name\t: Intel(R) Xeon(R) Platinum 8481C\n"


def look(directory: Path) -> list[str]:
    """Run the fact's command with stand-ins: a host that has been up for 10000 s, an hour and more of it with this
    container."""
    (directory / "cpuinfo").write_text(CPUINFO)
    (directory / "uptime").write_text("10000.00 1.00\n")
    (directory / "date").write_text('#!/bin/sh\ncase "$*" in *-d*) echo 5000 ;; *) echo 9000 ;; esac\n')
    for tool in directory.iterdir():
        tool.chmod(0o755)
    command = ReplicaCrash().command("ingot-engine-small-0").replace("PATH=", f"PATH={directory}:")
    command = command.replace("/proc/cpuinfo", f"{directory}/cpuinfo").replace("/proc/uptime", f"{directory}/uptime")
    done = subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, timeout=180, check=True, env=os.environ
    )
    return done.stdout.splitlines()


def test_the_end_of_a_container_that_docker_restarted_is_found(tmp_path: Path) -> None:
    (tmp_path / "docker").write_text(DOCKER)
    (tmp_path / "dmesg").write_text(DMESG)
    assert parse_crash(look(tmp_path)) == Crash(
        exit_code=132,
        last_words="Fatal Python error: Illegal instruction",
        kernel="traps: VLLM::EngineCor[4411] trap invalid opcode ip:7f sp:7e error:0 in _C.abi3.so[7f+1]",
        processor="Intel(R) Xeon(R) Platinum 8481C",
    )
    assert "--since 2026-11-28T20:00:00.123456789Z --until 9000" in (tmp_path / "docker.asked").read_text()


def test_a_host_that_knows_nothing_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "docker").write_text("#!/bin/sh\necho Error: No such object >&2; exit 1\n")
    (tmp_path / "dmesg").write_text("#!/bin/sh\nexit 1\n")
    assert parse_crash(look(tmp_path)) == Crash(processor="Intel(R) Xeon(R) Platinum 8481C")


@pytest.mark.parametrize(
    ("state", "ends", "found"),
    [
        ("exited 1 false", "die 1", Crash(1)),
        ("exited 137 true", "oom \ndie 137", Crash(137, out_of_memory=True)),
        ("running 0 false", "oom \ndie 137", Crash(137, out_of_memory=True)),
        ("running 0 false", "", Crash()),
        ("exited 127 false", "", Crash(127)),
    ],
    ids=["ended", "out of memory", "out of memory and back", "never ended", "Docker forgot its events"],
)
def test_ends_are_read_from_events_and_from_what_is_left(state: str, ends: str, found: Crash) -> None:
    answers = {"state": state, "ends": ends, "words": "", "kernel": "", "processor": ""}
    lines = [line for name, said in answers.items() for line in _section(name, said)]
    assert parse_crash(lines) == found


def _section(name: str, said: str) -> list[str]:
    return [f"@@ingot-begin {name}", *said.splitlines(), f"@@ingot-end {name} 0"]
