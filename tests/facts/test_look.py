"""One look answers a run's questions, and no answer is older than the last change."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingot.facts import look as looks
from ingot.facts.host import CLOCK
from ingot.facts.look import Look, parse_look, script
from ingot.facts.sections import Question, split, taken_at

pytestmark = pytest.mark.speed


def ask_shell(command: str, *, seconds: float = 60) -> list[str]:
    """A command's lines, as a host's shell answers it."""
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False, timeout=seconds)
    return done.stdout.splitlines()


def kept(text: str, tmp_path: Path) -> str:
    """A look that works below a directory of the test's."""
    return text.replace("/run/ingot", str(tmp_path / "run"))


ONE = Question.of({"both": "echo both", "status": "echo to stderr >&2; exit 7", "lines": "printf 'a\\n\\nb'"})
TWO = Question.of({"other": "word two", "same": "word both"}, "word() { echo $1; }; ")


def looked(tmp_path: Path, *questions: Question) -> Look:
    """A look at a host that keeps these questions."""
    before = Look()
    for question in questions:
        before.ask(question, "op")
    assert before.to_keep is not None
    after = Look()
    after.take(ask_shell(kept(before.to_keep, tmp_path)), after.begin())
    return after


def test_a_look_answers_as_each_question_by_itself_does(tmp_path: Path) -> None:
    found = looked(tmp_path, ONE, TWO)
    for question in (ONE, TWO):
        assert found.ask(question, "op")
        answer = found.answer(question)
        assert answer is not None
        sections = split(answer)
        assert taken_at(sections) is not None
        assert {name: sections[name] for name in question.sections} == split(ask_shell(question))
    assert found.to_keep is None, "the host has these questions already"
    assert not list((tmp_path / "run").iterdir())


def test_the_same_script_is_asked_once_for_all_facts() -> None:
    again = Question.of({"another_name": "echo both"})
    assert list(again.keys.values()) == [ONE.keys["both"]]
    scripts = {key: asked.sections[name] for asked in (ONE, again) for name, key in asked.keys.items()}
    text = script(scripts, dict.fromkeys(scripts, 0))
    assert text.count("( echo both\n)") == 1


def test_the_clock_is_read_after_all_else(tmp_path: Path) -> None:
    slow, clock = Question.of({"slow": "sleep 0.3; date +%s.%N"}), Question.of({"clock": CLOCK}, last=("clock",))
    found = looked(tmp_path, clock, slow)
    (at,) = (float(split(found.answer(clock) or [])["clock"].line),)
    assert at > float(split(found.answer(slow) or [])["slow"].line)


def test_a_question_that_is_not_kept_is_asked(tmp_path: Path) -> None:
    found = looked(tmp_path, ONE)
    assert found.ask(TWO, "op") and found.answer(TWO) is None
    assert found.to_keep is not None


def test_an_operation_that_asks_again_asks_the_host(tmp_path: Path) -> None:
    found = looked(tmp_path, ONE)
    assert found.ask(ONE, "first") and not found.ask(ONE, "first")
    assert found.ask(ONE, "second") and found.answer(ONE)


def test_a_change_ends_every_answer_also_of_a_look_that_is_under_way(tmp_path: Path) -> None:
    found = looked(tmp_path, ONE)
    with found.changing():
        assert not found.ask(ONE, "op"), "what is asked meanwhile is asked of the host"
    assert found.answer(ONE) is None
    begun = found.begin()
    with found.changing():
        pass
    found.take(ask_shell(kept(script(ONE.sections, dict.fromkeys(ONE.sections, 0)), tmp_path)), begun)
    assert found.answer(ONE) is None


def answered(*questions: Question) -> list[str]:
    """What a look answers to these questions."""
    return [
        line
        for one in questions
        for key in one.keys.values()
        for line in (f"@@ingot-begin {key}", f"@@ingot-end {key} 0")
    ]


def test_a_run_looks_again_after_a_change_where_the_last_look_was_a_gain() -> None:
    found = Look()
    found.take(answered(ONE), found.begin())
    for operation in ("first", "second"):
        assert found.ask(ONE, operation) and found.answer(ONE)
    found.forget()
    assert found.is_due(ONE) and not found.is_due(TWO), "the host does not have the other"
    found.take(answered(ONE), found.begin())
    assert found.ask(ONE, "third") and found.answer(ONE)
    found.forget()
    assert not found.is_due(ONE), "the look after the first change answered one question before the second"
    assert found.ask(ONE, "fourth") and found.answer(ONE) is None
    assert found.is_due(ONE), "no other change came: more is asked at once"


def test_a_look_after_a_change_asks_what_is_still_to_come(tmp_path: Path) -> None:
    before = Look()
    early, late, both = (Question.of({"one": f"echo {name}"}) for name in ("early", "late", "both"))
    for question, operation in ((early, "first"), (both, "first"), (both, "second"), (late, "third")):
        before.ask(question, operation)
    assert before.to_keep is not None
    text = kept(before.to_keep, tmp_path)

    def keys(first: int) -> set[str]:
        return set(parse_look(ask_shell(f"set -- {first}; {text}"))) - {"kept"}

    def of(*questions: Question) -> set[str]:
        return {key for question in questions for key in question.keys.values()}

    assert [keys(first) for first in (0, 1, 2, 3)] == [of(early, late, both), of(both, late), of(late), set()]


def test_old_answers_are_looked_at_again() -> None:
    now = [0.0]
    found = Look(clock=lambda: now[0])
    assert found.is_due(ONE)
    found.take(answered(ONE), found.begin())
    assert not found.is_due(ONE)
    now[0] = looks.VALID_S + 1.0
    assert found.is_due(ONE)
    found.forget()
    found.take(answered(ONE), found.begin())
    assert not found.is_due(ONE)
    now[0] += looks.VALID_AFTER_CHANGE_S + 1.0
    assert found.is_due(ONE), "what this run began may still be under way"
    begun = found.begin()
    now[0] += looks.VALID_AFTER_CHANGE_S + 1.0
    found.take(answered(ONE), begun)
    assert not found.is_due(ONE), "a host that takes so long to answer is not asked for each question"
    found.again()
    found.take(answered(ONE), found.begin())
    now[0] += looks.VALID_AFTER_CHANGE_S + 1.0
    assert not found.is_due(ONE)


def test_answers_last_longer_where_a_run_waits_for_more_hosts() -> None:
    now = [0.0]
    alone, of_many = Look(clock=lambda: now[0]), Look(clock=lambda: now[0], hosts=200)
    for found in (alone, of_many):
        found.take(answered(ONE), found.begin())
    now[0] = looks.VALID_S + 40.0
    assert alone.is_due(ONE) and not of_many.is_due(ONE)
    now[0] = looks.VALID_S + looks.VALID_FOR_EACH_HOST_S * 200
    assert of_many.is_due(ONE)


def test_a_look_whose_time_is_over_says_what_it_knows(tmp_path: Path) -> None:
    questions = {f"q{number}": f"echo {number}" for number in range(looks.LANES)} | {"never": "sleep 100", "then": "id"}
    text = kept(script(questions, dict.fromkeys(questions, 0), ["then"]), tmp_path)
    looking = subprocess.Popen(["sh", "-c", text], stdout=subprocess.PIPE, text=True, start_new_session=True)
    end = re.compile(r"^@@ingot-end ", re.MULTILINE)
    deadline = time.monotonic() + 60
    while len([lane for lane in tmp_path.glob("run/*/[0-9]") if end.search(lane.read_text())]) < looks.LANES:
        assert time.monotonic() < deadline and looking.poll() is None
        time.sleep(0.05)
    # What timeout does to the shell and to its lanes.
    os.killpg(looking.pid, signal.SIGTERM)
    lines = looking.communicate(timeout=180)[0].splitlines()
    found = parse_look(lines)
    assert set(found) == set(questions) - {"never", "then"} | {"kept"}
    assert not list((tmp_path / "run").iterdir())


@given(st.lists(st.sampled_from(["@@ingot-lane", "@@ingot-begin a", "@@ingot-end a 0", "@@ingot-end b 1", "", "x"])))
def test_whatever_comes_back_is_no_more_than_answers(lines: list[str]) -> None:
    assert set(parse_look(lines)) <= {"a"}
