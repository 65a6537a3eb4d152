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
from ingot.facts.sections import TAKEN, Question, Section, compose, joined, split

#: Where a host keeps the questions.
FILE = "/var/lib/ingot/look.sh"
#: How long a look may take, seconds; what has not answered by then is asked by itself.
LIMIT_S = 60
#: For how long an answer is taken while nothing changes the host, seconds: a run may wait for other hosts meanwhile.
VALID_S = 30
#: How much a look may answer, and how many questions a host keeps.
LARGEST_BYTES = 16 << 20
MOST = 1000
#: Parts of a look that run side by side.
LANES = 8

_LANE = "@@ingot-lane"

#: The look, as root: a host without questions, or with a file that is not root's alone, answers nothing.
COMMAND = (
    f"[ \"$(stat -c '%U %a' {FILE} 2>/dev/null)\" = 'root 600' ] || exit 0; "
    f"timeout -k 5 {LIMIT_S} sh {FILE} | head -c {LARGEST_BYTES}"
)


class Look:
    """What is known of one host while nothing changes it, and what a run asks of it.

    `clock` counts seconds, `time_of_day` is this machine's clock, seconds since 1970.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, time_of_day: Callable[[], float] = time.time
    ) -> None:
        #: Scripts that this run asked, by key, and which of them tell a moment.
        self.asked: dict[str, str] = {}
        self._last: set[str] = set()
        #: Keys that the host's own questions have; None before it was looked at.
        self.known: frozenset[str] | None = None
        self._clock, self._time_of_day = clock, time_of_day
        self._answers: dict[str, Section] = {}
        self._begun = self._taken_at = 0.0
        self._changing = 0
        self._changes = 0
        self._given: set[tuple[str, str]] = set()

    def ask(self, question: Question, operation: str) -> bool:
        """Note that an operation asks. Returns: whether an answer of a look will do.

        An operation that asks again, asks the host: it waits for something.
        """
        for name, key in question.keys.items():
            self.asked.setdefault(key, question.sections[name])
            if name in question.last:
                self._last.add(key)
        asked = (str(question), operation)
        if self._changing or asked in self._given:
            return False
        self._given.add(asked)
        return True

    @property
    def is_due(self) -> bool:
        """Whether to look: once in a run, and again where nothing changed for so long that others may have done so."""
        return self.known is None or (bool(self._answers) and self._clock() - self._begun > VALID_S)

    def begin(self) -> int:
        """A look begins. Returns: what `take` wants to know of that moment."""
        self._begun = self._clock()
        return self._changes

    def take(self, lines: Iterable[str], begun: int) -> None:
        """Take what a look answered, unless the host was changed meanwhile."""
        found = parse_look(lines)
        self.known = frozenset(found) | (self.known or frozenset())
        self._taken_at = self._time_of_day()
        self._answers = found if begun == self._changes else {}

    def answer(self, question: Question) -> list[str] | None:
        """The lines that a question was answered; None where it is to be asked now."""
        keys = question.keys
        if any(key not in self._answers for key in keys.values()):
            return None
        taken_at = Section(repr(self._taken_at))
        return joined({name: self._answers[key] for name, key in keys.items()} | {TAKEN: taken_at})

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
        """Drop every answer, also that of a look that has begun."""
        self._changes += 1
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
        return script(self.asked, self._last)


def script(scripts: Mapping[str, str], last: Iterable[str] = ()) -> str:
    """The look as a host keeps it: every script once, in lanes side by side, those in `last` after all others."""
    ending = {key: scripts[key] for key in last}
    keys = [key for key in scripts if key not in ending]
    lanes = [{key: scripts[key] for key in keys[lane::LANES]} for lane in range(LANES)]
    parts = "\n".join(f'{{ {compose(lane)}; }} >"$out/{number}" &' for number, lane in enumerate(lanes) if lane)
    return f"""# Written by Ingot: what its last deploy asked, for the next one to ask at once. It changes nothing.
umask 077
mkdir -p -m 0755 /run/ingot
out=$(mktemp -d /run/ingot/look.XXXXXXXX) || exit 1
say() {{
  for lane in "$out"/*; do echo '{_LANE}'; cat "$lane"; done
  rm -rf "$out"
  exit
}}
trap say TERM INT HUP
{parts}
wait
{{ {compose(ending)}; }} >"$out/last"
say
"""


def parse_look(lines: Iterable[str]) -> dict[str, Section]:
    """The answers of a look by key. What a lane had not answered when its time was over is absent."""
    lanes: list[list[str]] = [[]]
    for line in lines:
        if line == _LANE:
            lanes.append([])
        else:
            lanes[-1].append(line)
    found: dict[str, Section] = {}
    for lane in lanes:
        while lane:
            try:
                found |= split(lane)
                break
            except ParseError:
                # Its last question has no end: those before it have theirs.
                lane.pop()
                while lane and not lane[-1].startswith("@@ingot-end "):
                    lane.pop()
    return found
