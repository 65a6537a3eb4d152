"""Several standing facts in one SSH command: what a command of Ingot's wants to know of a host at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pyinfra.api.facts import FactBase

from ingot.facts.errors import ParseError
from ingot.facts.sections import Question, joined, split

if TYPE_CHECKING:
    from pyinfra.api.host import Host

#: A fact and its arguments.
Wanted = tuple[type[FactBase[Any]], Mapping[str, Any]]


class Together(FactBase[tuple[Any, ...]]):
    """Facts whose commands are `Question`s: a script that several of them have is asked once.

    Returns: what each fact returns, in the order of `facts`
    """

    def command(self, facts: Sequence[Wanted]) -> str:
        self._facts = [(fact(), arguments) for fact, arguments in facts]
        self._questions = []
        for fact, arguments in self._facts:
            question = fact.command(**arguments)
            assert isinstance(question, Question), f"{type(fact).__name__} is no standing fact"
            self._questions.append(question)
        scripts = {key: one.sections[name] for one in self._questions for name, key in one.keys.items()}
        return Question.of(scripts)

    @staticmethod
    def default() -> tuple[Any, ...]:
        return ()

    def process(self, output: list[str]) -> tuple[Any, ...]:
        """Each fact reads its own sections. One that was not answered is missing there too, and says so as ever."""
        try:
            found = split(output)
        except ParseError:
            # A fact says by itself what it makes of an answer that is cut off.
            return tuple(fact.process(output) for fact, _ in self._facts)
        return tuple(
            fact.process(joined({name: found[key] for name, key in question.keys.items() if key in found}))
            for (fact, _), question in zip(self._facts, self._questions, strict=True)
        )


def together(host: Host, *facts: Wanted) -> tuple[Any, ...]:
    """What each fact returns of a host; where that does not answer, each fact's own word for it."""
    found: tuple[Any, ...] = host.get_fact(Together, facts=facts)
    return found or tuple(fact().default() for fact, _ in facts)
