"""What the runbook says that commands print is what they print."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from ingot.operations.serving.outlook import HEAD, lines
from ingot.report.console import plain_console
from ingot.report.history import show
from ingot.report.locks import HostLock, sentence
from ingot.rollback.history import History
from ingot.runs.audit import PastRun
from ingot.runs.run import Run, now

pytestmark = pytest.mark.rollout

PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
#: The page folds long lines: what goes on is indented by two more.
FOLDED = re.sub(r"\n {6,10}(?=\S)(?!\[|order|1 canary|2  |…)", " ", PAGE)
DEPLOY = Run("dcf447d8", "anna", "desk", 1, "deploy", "2026-11-29T12:17:50+00:00", "38b817d8ae" + "0" * 30, dirty=True)


def test_the_history_of_a_host() -> None:
    back = replace(DEPLOY, purpose="rollback", started="2026-11-29T12:19:16+00:00")
    runs = [PastRun(DEPLOY, "done"), PastRun(back, "done", operations=("Go back to a state that was proven",))]
    serves = "2 x tiny-qwen3 at 53fafb959c56, image sha256:1f24d34e6b8b"
    states = [
        SimpleNamespace(number=number, at=f"2026-11-29T{at}+00:00", words=lambda: serves)
        for number, at in ((2, "12:14:22"), (3, "12:16:06"), (4, "12:17:17"))
    ]
    printed = io.StringIO()
    show(History("gpu-01", runs, states, 3), 2, plain_console(file=printed, width=160))  # type: ignore[arg-type]
    block = "\n".join(f"    {line}".rstrip() for line in printed.getvalue().splitlines())
    assert block in PAGE


def test_the_table_of_a_rollout() -> None:
    start = next(index for index, line in enumerate(PAGE.splitlines()) if line.split() == list(HEAD))
    table = [re.split(r" {2,}", line.strip()) for line in PAGE.splitlines()[start + 1 : start + 4]]
    shown = [tuple(cells) for cells in table]
    assert all(len(cells) == len(HEAD) for cells in shown), shown
    assert "\n".join(f"        {line}" for line in lines(shown)) in PAGE


def test_who_holds_a_host() -> None:
    run = replace(DEPLOY, id="cf58554b", pid=6848, started=now())
    said = re.sub(r"for \d+ s\)", "for 8 s)", sentence(HostLock("gpu-01", True, run, 0)))
    assert f"    {said}\n    {sentence(HostLock('gpu-02', False, None, 0))}\n" in PAGE


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("ingot/runs/hold.py", "run this again when that has ended, or see"),
        ("ingot/inventory/connector.py", "broke the lock of this run, which has stopped here; see"),
        ("ingot/operations/serving/canary.py", "is the canary: it is observed for"),
        ("ingot/operations/serving/rollout.py", "expected it to serve; read its log above (kept in"),
        ("ingot/operations/serving/engine.py", "mend that, and deploy again."),
    ],
)
def test_the_sentences_of_a_run(file: str, words: str) -> None:
    source = re.sub(r'"\s+f?"', "", (Path(__file__).parents[2] / file).read_text(encoding="utf-8"))
    assert words in source and words in FOLDED
