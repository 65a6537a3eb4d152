"""Facts that are asked together are answered as each is by itself."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ingot.facts.paths import Paths, PathsLook
from ingot.facts.together import Together, together

pytestmark = pytest.mark.speed


def ask_shell(command: str) -> list[str]:
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False, timeout=180)
    return done.stdout.splitlines()


def test_facts_that_are_asked_together_are_answered_as_each_is_by_itself(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    asked = ((Paths, {"paths": [str(tmp_path), str(tmp_path / "file")]}), (Paths, {"paths": [str(tmp_path / "gone")]}))
    fact = Together()
    answers = fact.process(ask_shell(fact.command(asked)))
    alone = [
        one.process(ask_shell(one.command(**arguments))) for one, arguments in ((kind(), how) for kind, how in asked)
    ]
    assert list(answers) == alone
    assert set(answers[0].paths) == {str(tmp_path), str(tmp_path / "file")}


def test_a_script_that_two_facts_have_is_asked_once(tmp_path: Path) -> None:
    one = (Paths, {"paths": [str(tmp_path)]})
    assert Together().command((one, one)) == Together().command((one,))


def test_a_host_that_does_not_answer_is_each_facts_own_word_for_it() -> None:
    silent: Any = SimpleNamespace(get_fact=lambda fact, facts: Together.default())
    assert together(silent, (Paths, {"paths": ["/"]})) == (PathsLook({}),)
