"""Questions side by side are answered as one after the other, and in less time than all of them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ingot.facts.nvidia import QUESTIONS
from ingot.facts.sections import Section, side_by_side, split

pytestmark = pytest.mark.speed


def shell(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, check=False, timeout=180, env=environment or None
    )


@pytest.mark.parametrize("lanes", [1, 2, 8])
def test_each_question_is_answered_once_whatever_the_others_do(lanes: int) -> None:
    questions = {"one": "echo 1", "fails": "echo no >&2; exit 3", "leaves": "exec true", "last": "cat; echo end"}
    done = shell(side_by_side(questions, lanes))
    assert done.returncode == 0
    assert split(done.stdout.splitlines()) == {
        "one": Section("1"),
        "fails": Section("no", 3),
        "leaves": Section(""),
        "last": Section("end"),
    }


def test_questions_of_two_lanes_meet() -> None:
    """Each of two waits for the other: one after the other they would never end."""
    meet = (
        'd=$(dirname "$lanes")/meet; mkdir -p "$d"; : >"$d/{0}"; until [ -e "$d/{1}" ]; do sleep 0.05; done; echo {0}'
    )
    done = shell(
        'd=$(mktemp -d); export TMPDIR="$d"; '
        + side_by_side({"a": meet.format("a", "b"), "b": meet.format("b", "a")}, 2)
        + '; rm -rf "$d"'
    )
    assert split(done.stdout.splitlines()) == {"a": Section("a"), "b": Section("b")}


@pytest.mark.parametrize(
    ("shown", "calls"),
    [
        ((), 2),
        (("mig/config", "gpu0/mig"), 0),
        (("mig/config", "gpu0/mig/gi1/ci0"), 2),
    ],
)
def test_logs_that_only_tell_of_instances_are_asked_where_there_are_some(
    tmp_path: Path, shown: tuple[str, ...], calls: int
) -> None:
    capabilities, called = tmp_path / "capabilities", tmp_path / "called"
    for path in shown:
        (capabilities / path).mkdir(parents=True)
    smi = tmp_path / "nvidia-smi"
    smi.write_text(f'#!/bin/sh\necho "$*" >>{called}\n')
    smi.chmod(0o755)
    for name in ("smi_list", "smi_xml"):
        script = QUESTIONS[name].replace("/proc/driver/nvidia/capabilities", str(capabilities))
        shell(script, PATH=f"{tmp_path}:/usr/bin:/bin")
    assert (len(called.read_text().splitlines()) if called.exists() else 0) == calls
