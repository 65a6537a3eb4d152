"""A standing fact is read from the look where that answers, and asked in pyinfra's way where it does not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pytest
from pyinfra.api.facts import FactBase
from pyinfra.api.host import Host

from ingot.facts.sections import Question, Section, joined, split
from ingot.operations.standing import standing

pytestmark = pytest.mark.speed


class Name(FactBase[str]):
    def command(self, of: str) -> str:
        return Question.of({"name": f"cat {of}"})

    def process(self, output: list[str]) -> str:  # type: ignore[override]
        return split(output)["name"].line


class Uptime(FactBase[str]):
    """No standing fact: it is another one each time."""

    def command(self) -> str:
        return "uptime"


class FakeHost:
    """A host whose look knows `answers`, by question."""

    def __init__(self, answers: Mapping[str, str]) -> None:
        self.connector, self.answers = self, answers
        self.asked: list[tuple[type, Mapping[str, Any]]] = []

    def known(self, question: Question) -> list[str] | None:
        script = question.sections["name"]
        return joined({"name": Section(self.answers[script])}) if script in self.answers else None

    def get_fact(self, fact: type, **arguments: Any) -> str:
        self.asked.append((fact, arguments))
        return "asked"


def test_what_the_look_knows_is_not_asked() -> None:
    fake = FakeHost({"cat a": "known"})
    host = cast(Host, fake)
    assert standing(host, Name, of="a") == "known" and fake.asked == []
    assert standing(host, Name, of="b") == "asked" and fake.asked == [(Name, {"of": "b"})]


def test_what_is_no_question_and_another_connector_are_asked() -> None:
    fake = FakeHost({})
    host = cast(Host, fake)
    assert standing(host, Uptime) == "asked"
    fake.connector = cast(Any, object())
    assert standing(host, Name, of="a") == "asked"
    assert [fact for fact, _ in fake.asked] == [Uptime, Name]
