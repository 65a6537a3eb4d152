"""A call of nvidia-smi ends in time, whatever nvidia-smi does, and only the first one waits."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from ingot.facts import smi_call
from ingot.facts.sections import compose, split

pytestmark = [pytest.mark.driver, pytest.mark.found]

SHELL = shutil.which("dash") or "sh"


def call(tmp_path: Path, program: str, *questions: str) -> tuple[dict[str, tuple[str, int]], float]:
    """Each question's answer and status, and how long all took, with such an nvidia-smi and a limit of a second."""
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{program}\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    shell = smi_call.SHELL.replace(f"limit={smi_call.LIMIT_S}", "limit=1").replace("/run/", f"{tmp_path}/")
    text = compose({f"q{'abc'[place]}": shell + question for place, question in enumerate(questions)})
    began = time.monotonic()
    done = subprocess.run(
        [SHELL, "-c", text.replace("PATH=", f"PATH={tmp_path}:")],
        capture_output=True,
        text=True,
        check=True,
        timeout=180,
        env=os.environ,
    )
    answers = split(done.stdout.splitlines())
    return {name: (one.output, one.status) for name, one in answers.items()}, time.monotonic() - began


def test_an_answer_comes_with_its_status(tmp_path: Path) -> None:
    answers, _ = call(tmp_path, 'echo "asked $*"; echo oops >&2; exit 9', "smi -L --x=1", 'x=$(smi -L); echo "$x"')
    assert answers["qa"] == ("asked -L --x=1\noops", 9)
    assert answers["qb"] == ("asked -L\noops", 0)


def test_one_that_hangs_is_waited_for_once_and_said(tmp_path: Path) -> None:
    answers, took_s = call(
        tmp_path, "trap '' TERM; echo begun; sleep 300", "smi -L | cat; smi -L", "smi -q -x", "echo on"
    )
    assert answers["qa"][1] == 124 and answers["qb"] == ("", 124)
    assert "begun" in answers["qa"][0] and answers["qc"] == ("on", 0)
    assert took_s < 20, "two more calls that wait would take longer on the slowest machine"
    left = subprocess.run(["pgrep", "-f", f"{tmp_path}/nvidia-smi"], capture_output=True, text=True, check=False)
    assert left.stdout == "", "the one that hung was killed"
