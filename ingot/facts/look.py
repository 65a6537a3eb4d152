"""One look at a host at the start of a run: one SSH command answers what the last deploy asked, for all roles.

A host keeps the questions of its last deploy as a script. An answer is taken only for a question that is the same to
the letter, only until anything may have changed the host, and once by each operation; whatever else is asked, is asked
as ever. After a change the run looks again, at what the operations from there on asked the last time.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from ingot.facts.errors import ParseError
from ingot.facts.sections import TAKEN, Question, Section, compose, joined, split

#: Where a host keeps the questions.
FILE = "/var/lib/ingot/look.sh"
#: How long a look may take, seconds; what has not answered by then is asked by itself.
LIMIT_S = 60
#: For how long an answer is taken while nothing changes the host, seconds: a run may wait for other hosts meanwhile,
#: and the more so the more of them there are.
VALID_S = 30
VALID_FOR_EACH_HOST_S = 0.25
#: The same of a look after this run's change, which may have left something on the host that is still under way.
VALID_AFTER_CHANGE_S = 5
#: How much a look may answer, and how many questions a host keeps.
LARGEST_BYTES = 16 << 20
MOST = 1000
#: Parts of a look that run side by side.
LANES = 8

_LANE = "@@ingot-lane"
#: What the script that a host keeps goes by, among the answers.
_KEPT = "kept"


def command(first: int) -> str:
    """The look, as root: what the operations from number `first` on asked the last time.

    A host without questions, or with a file that is not root's alone, answers nothing.
    """
    return (
        f"[ \"$(stat -c '%U %a' {FILE} 2>/dev/null)\" = 'root 600' ] || exit 0; "
        f"timeout -k 5 {LIMIT_S} sh {FILE} {first} | head -c {LARGEST_BYTES}"
    )


class Look:
    """What is known of one host while nothing changes it, and what a run asks of it.

    `hosts` is how many the run has, `clock` counts seconds, `time_of_day` is this machine's clock, seconds since 1970.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        time_of_day: Callable[[], float] = time.time,
        hosts: int = 1,
    ) -> None:
        #: Scripts that this run asked, by key, which of them tell a moment, and the number of the last operation that
        #: asked each.
        self.asked: dict[str, str] = {}
        self._last: set[str] = set()
        self._until: dict[str, int] = {}
        self._operations: dict[str, int] = {}
        #: Keys that the host's own questions have; None before it was looked at.
        self.known: frozenset[str] | None = None
        self._kept = ""
        self._clock, self._time_of_day = clock, time_of_day
        self._valid_s = VALID_S + VALID_FOR_EACH_HOST_S * (hosts - 1)
        self._answers: dict[str, Section] = {}
        self._begun = self._took = self._taken_at = 0.0
        self._changing = 0
        self._changes = 0
        self._changed = False
        #: Questions that the last look answered, and those asked by themselves since the last change.
        self._served = self._alone = 0
        self._given: set[tuple[str, str]] = set()

    def ask(self, question: Question, operation: str) -> bool:
        """Note that an operation asks. Returns: whether an answer of a look will do.

        An operation that asks again, asks the host: it waits for something.
        """
        number = self._operations.setdefault(operation, len(self._operations))
        for name, key in question.keys.items():
            self.asked.setdefault(key, question.sections[name])
            self._until[key] = number
            if name in question.last:
                self._last.add(key)
        asked = (str(question), operation)
        if self._changing or asked in self._given:
            return False
        self._given.add(asked)
        return True

    def is_due(self, question: Question) -> bool:
        """Whether to look before a question is answered.

        That is so once in a run; again where nothing changed for so long that others may have done so; and after a
        change, where the host has the question. A look that answered fewer than two questions before the next change
        was no gain: after that change one question is asked by itself, and only the one after it looks.
        """
        if self.known is None:
            return True
        if self._answers:
            valid_s = VALID_AFTER_CHANGE_S if self._changed else self._valid_s
            # A host that is slow to answer is not asked again for each question.
            return self._clock() - self._begun > max(valid_s, 2 * self._took)
        return self.known.issuperset(question.keys.values()) and (self._served > 1 or self._alone > 0)

    def command(self, operation: str) -> str:
        """The look for an operation and those after it."""
        return command(self._operations[operation] if self.known is not None else 0)

    def begin(self) -> int:
        """A look begins. Returns: what `take` wants to know of that moment."""
        self._begun = self._clock()
        return self._changes

    def take(self, lines: Iterable[str], begun: int) -> None:
        """Take what a look answered, unless the host was changed meanwhile."""
        found = parse_look(lines)
        self._kept = found.pop(_KEPT, Section(self._kept)).line
        self.known = frozenset(found) | (self.known or frozenset())
        self._taken_at = self._time_of_day()
        self._took = self._clock() - self._begun
        self._answers = found if begun == self._changes else {}
        self._served = 0

    def answer(self, question: Question) -> list[str] | None:
        """The lines that a question was answered; None where it is to be asked now."""
        keys = question.keys
        if any(key not in self._answers for key in keys.values()):
            self._alone += 1
            return None
        self._served += 1
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
        self._changed = True
        self._answers = {}
        self._alone = 0

    def again(self) -> None:
        """Drop every answer, and look again: what was asked before the host was held, others may have changed."""
        self.forget()
        self._changed = False
        self.known = None
        self._given.clear()
        self._operations.clear()

    @property
    def to_keep(self) -> str | None:
        """The script that the host keeps from now on; None where it has that already."""
        if not self.asked or len(self.asked) > MOST or self._kept == digest(self._until):
            return None
        return script(self.asked, self._until, self._last)


def digest(until: Mapping[str, int]) -> str:
    """What a script goes by: its keys, and how long a run asks each."""
    return hashlib.sha256(repr(sorted(until.items())).encode()).hexdigest()[:24]


def script(scripts: Mapping[str, str], until: Mapping[str, int], last: Iterable[str] = ()) -> str:
    """The look as a host keeps it: every script once, in lanes side by side, those in `last` after all others.

    Its argument is the number of the first operation that it answers; a script that none from there on asked, by
    `until`, is left out.
    """
    ending = sorted(last)
    keys = sorted((key for key in scripts if key not in ending), key=lambda key: until[key])
    parts = "\n".join(
        f'{{ {_lane(scripts, until, lane)}; }} >"$out/{number}" &'
        for number in range(LANES)
        if (lane := keys[number::LANES])
    )
    return f"""# Written by Ingot: what its last deploy asked, for the next one to ask at once. It changes nothing.
umask 077
first=${{1:-0}}
mkdir -p -m 0755 /run/ingot
out=$(mktemp -d /run/ingot/look.XXXXXXXX) || exit 1
say() {{
  for lane in "$out"/*; do echo '{_LANE}'; cat "$lane"; done
  rm -rf "$out"
  exit
}}
trap say TERM INT HUP
{{ {compose({_KEPT: f"echo {digest(until)}"})}; }} >"$out/kept"
{parts}
wait
{{ {_lane(scripts, until, ending)}; }} >"$out/last"
say
"""


def _lane(scripts: Mapping[str, str], until: Mapping[str, int], keys: Iterable[str]) -> str:
    parts = [f'[ "$first" -gt {until[key]} ] || {{ {compose({key: scripts[key]})}; }}' for key in keys]
    return "; ".join([*parts, "true"])


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
