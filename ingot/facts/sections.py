"""Several questions in one SSH command: each answer comes back under its name with its exit status."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from ingot.facts.errors import ParseError

_BEGIN = re.compile(r"^@@ingot-begin ([a-z0-9_]+)$")
_END = re.compile(r"^@@ingot-end ([a-z0-9_]+) (\d{1,3})$")


@dataclass(frozen=True, slots=True)
class Section:
    """One answer: what the commands printed on either stream, and the status of the last one."""

    output: str
    status: int = 0

    @property
    def line(self) -> str:
        """The first line, stripped; empty when nothing was printed."""
        return self.output.strip().partition("\n")[0].strip()


def compose(questions: Mapping[str, str]) -> str:
    """One shell command that asks every question and itself always succeeds, so that no answer fails the host."""
    # Each runs in its own subshell: one that hangs up, exits or redirects leaves the others alone.
    parts = [
        f"echo '@@ingot-begin {name}'; ( {question}\n) </dev/null 2>&1; printf '\\n@@ingot-end {name} %d\\n' $?"
        for name, question in questions.items()
    ]
    # What a login shell printed without an end of line does not spoil the first mark.
    return "echo; export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin; " + "; ".join(
        [*parts, "true"]
    )


def side_by_side(questions: Mapping[str, str], lanes: int) -> str:
    """`compose` with the questions in so many lanes at once: as slow as the slowest lane, not as all of them."""
    names = list(questions)
    parts = [
        f'{{ {compose({name: questions[name] for name in names[lane::lanes]})}; }} >"$lanes/{lane}" 2>/dev/null &'
        for lane in range(min(lanes, len(names)))
    ]
    begin, end = "lanes=$(mktemp -d) || exit 1", 'wait; cat "$lanes"/*; rm -rf "$lanes"'
    return "\n".join([begin, *parts, end])


class Question(str):
    """The command of a standing fact: what it reads stays as it is until something changes the host.

    `sections` are the scripts that it is composed of, by name; those in `last` tell a moment, and are asked last. One
    look at the start of a run may answer it.
    """

    sections: Mapping[str, str]
    last: frozenset[str]

    @classmethod
    def of(cls, questions: Mapping[str, str], before: str = "", last: Collection[str] = ()) -> Self:
        """`compose` with shell functions `before` all sections."""
        made = cls(before + compose(questions))
        made.sections = {name: before + question for name, question in questions.items()}
        made.last = frozenset(last)
        return made

    @property
    def keys(self) -> dict[str, str]:
        """The key of each section, by name: the same script has the same key in every fact."""
        return {name: key_of(script) for name, script in self.sections.items()}


def key_of(script: str) -> str:
    """What the answer to a script goes by in a look: it is of that script, to the letter."""
    return f"q{hashlib.sha256(script.encode()).hexdigest()[:24]}"


#: A section that only the answer of a look has: when it was taken, seconds since 1970 by this machine's clock.
TAKEN = "ingot_look_taken"


def taken_at(sections: Mapping[str, Section]) -> float | None:
    """When a look gave these answers, seconds since 1970 by this machine's clock; None: they are of this moment."""
    return float(sections[TAKEN].line) if TAKEN in sections else None


def joined(sections: Mapping[str, Section]) -> list[str]:
    """The lines that `split` reads as these sections."""
    lines: list[str] = []
    for name, section in sections.items():
        body = section.output.split("\n") if section.output else []
        lines += [f"@@ingot-begin {name}", *body, f"@@ingot-end {name} {section.status}"]
    return lines


def split(lines: Iterable[str]) -> dict[str, Section]:
    """Undo `compose` on its output. A question that never answered is absent.

    Raises: ParseError when an answer is cut off (the connection died half way).
    """
    sections: dict[str, Section] = {}
    name: str | None = None
    body: list[str] = []
    for line in lines:
        if name is None:
            begin = _BEGIN.match(line)
            if begin:
                name, body = begin.group(1), []
            continue
        end = _END.match(line)
        if end and end.group(1) == name:
            sections[name] = Section("\n".join(body).strip("\n"), int(end.group(2)))
            name = None
        else:
            body.append(line)
    if name is not None:
        raise ParseError(f"the answer to {name!r} has no end: the output was cut off after {len(body)} lines.")
    return sections


def answer(sections: Mapping[str, Section], name: str) -> Section:
    """One section.

    Raises: ParseError when it is missing.
    """
    try:
        return sections[name]
    except KeyError:
        raise ParseError(f"the answer to {name!r} is missing: the output was cut off.") from None
