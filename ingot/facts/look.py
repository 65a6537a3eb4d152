"""One look at a host at the start of a run: one SSH command answers what the last deploy asked, for all roles.

A host keeps the questions of its last deploy as a script. An answer is taken only for a question that is the same to
the letter, only until anything may have changed the host, and once by each operation; whatever else is asked, is asked
as ever.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from ingot.facts.errors import ParseError
from ingot.facts.sections import Question, Section, compose, joined, split

#: Where a host keeps the questions.
FILE = "/var/lib/ingot/look.sh"
#: How long a look may take, seconds; without its answers everything is asked by itself.
LIMIT_S = 60
#: For how long an answer is taken while nothing changes the host, seconds: a run may wait for other hosts meanwhile.
VALID_S = 60
#: How much a look may answer, and how many questions a host keeps.
LARGEST_BYTES = 16 << 20
MOST = 1000
#: Parts of a look that run side by side.
LANES = 4

#: The look, as root: a host without questions, or with a file that is not root's alone, answers nothing.
COMMAND = (
    f"[ \"$(stat -c '%U %a' {FILE} 2>/dev/null)\" = 'root 600' ] || exit 0; "
    f"timeout -k 5 {LIMIT_S} sh {FILE} | head -c {LARGEST_BYTES}"
)


class Look:
    """What is known of one host while nothing changes it, and what a run asks of it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        #: Scripts that this run asked, by key.
        self.asked: dict[str, str] = {}
        #: Keys that the host's own questions have; None before it was looked at.
        self.known: frozenset[str] | None = None
        self._clock = clock
        self._answers: dict[str, Section] = {}
        self._taken_at = 0.0
        self._changing = 0
        self._given: set[tuple[str, str]] = set()

    @property
    def is_due(self) -> bool:
        """Whether this run has not looked yet; after a change it asks one by one."""
        return self.known is None and not self._changing

    def take(self, lines: Iterable[str], asked_at: float) -> None:
        """Take what the look answered that began at a moment of the clock; one that was cut off answers nothing."""
        try:
            found = split(lines)
        except ParseError:
            found = {}
        self.known = frozenset(found)
        self._taken_at = asked_at
        if not self._changing:
            self._answers = found

    def answer(self, question: Question, operation: str) -> list[str] | None:
        """The lines that a question was answered; None where it is to be asked now.

        An operation that asks again, asks the host: it waits for something.
        """
        keys = question.keys
        self.asked |= {key: question.sections[name] for name, key in keys.items()}
        asked = (str(question), operation)
        if asked in self._given or self._clock() - self._taken_at > VALID_S:
            return None
        self._given.add(asked)
        if not keys.keys() or any(key not in self._answers for key in keys.values()):
            return None
        return joined({name: self._answers[key] for name, key in keys.items()})

    @contextmanager
    def changing(self) -> Iterator[None]:
        """While something runs that may change the host: nothing that was answered before is true afterwards."""
        self._changing += 1
        self.forget()
        try:
            yield
        finally:
            self._changing -= 1
            self.forget()

    def forget(self) -> None:
        """Drop every answer."""
        self._answers = {}

    def again(self) -> None:
        """Drop every answer, and look again: what was asked before the host was held, others may have changed."""
        self.forget()
        self.known = None
        self._given.clear()

    @property
    def to_keep(self) -> str | None:
        """The script that the host keeps from now on; None where it has these questions already."""
        if not self.asked or len(self.asked) > MOST or self.known == frozenset(self.asked):
            return None
        return script(self.asked)


def script(scripts: Mapping[str, str]) -> str:
    """The look as a host keeps it: every script once, in lanes side by side."""
    keys = list(scripts)
    lanes = [{key: scripts[key] for key in keys[lane::LANES]} for lane in range(LANES)]
    parts = "\n".join(f'{{ {compose(lane)}; }} >"$out/{number}" &' for number, lane in enumerate(lanes) if lane)
    return f"""# Written by Ingot: what its last deploy asked this host, which the next one asks at once. It changes nothing.
umask 077
mkdir -p -m 0755 /run/ingot
out=$(mktemp -d /run/ingot/look.XXXXXXXX) || exit 1
trap 'rm -rf "$out"' EXIT
trap 'exit 1' TERM INT HUP
{parts}
wait
cat "$out"/*
"""
