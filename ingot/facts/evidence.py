"""What Ingot recorded on a host: which driver it decided on and why, what it planned, what the engine measured."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pyinfra.api.facts import FactBase

from ingot.facts.engine import STATE
from ingot.facts.errors import ParseError
from ingot.facts.models import DAMAGE, Damage, parse_damage
from ingot.facts.sections import compose, split

FILES = ("driver.json", "plan.json", "measured.json", "replica-holds.json")

_QUESTIONS = {
    "files": (
        f"cd {STATE} 2>/dev/null && for f in {' '.join(FILES)}; do "
        '[ -f "$f" ] && echo "$f $(stat -c %Y "$f") $(base64 -w0 "$f")"; done; true'
    ),
    "damage": f"cat {DAMAGE} 2>/dev/null",
    "toolkit": "dpkg-query -W -f='${Version}' nvidia-container-toolkit-base 2>/dev/null",
    "docker": "command -v docker >/dev/null && timeout 20 docker version --format '{{.Server.Version}}' 2>/dev/null",
}


@dataclass(frozen=True, slots=True)
class Recorded:
    """One host's evidence: the JSON files of `FILES` by name, when each was written (seconds since 1970), versions,
    and the files of models that a scrub found to differ from what was verified.

    A file that power loss left unreadable is absent, as one that was never written.
    """

    files: Mapping[str, Any] = field(default_factory=dict)
    written: Mapping[str, int] = field(default_factory=dict)
    toolkit: str | None = None
    docker: str | None = None
    damage: tuple[Damage, ...] = ()


class Evidence(FactBase[Recorded]):
    """The evidence on a host, in one command.

    Returns: Recorded({'driver.json': {'decided': {'branch': 580, …}, …}}, {'driver.json': 1790000000}, '1.20.0-1')
    """

    @staticmethod
    def default() -> Recorded:
        return Recorded()

    def command(self) -> str:
        return compose(_QUESTIONS)

    def process(self, output: Iterable[str]) -> Recorded:
        try:
            found = split(output)
        except ParseError:
            return Recorded()
        files, written = {}, {}
        for line in found["files"].output.splitlines() if "files" in found else ():
            cells = line.split()
            try:
                name, stamp, encoded = cells
                content = json.loads(base64.b64decode(encoded, validate=True))
                written[name], files[name] = int(stamp), content
            except ValueError:
                continue
        return Recorded(
            {name: content for name, content in files.items() if isinstance(content, Mapping)},
            written,
            found["toolkit"].line or None if "toolkit" in found else None,
            found["docker"].line or None if "docker" in found else None,
            parse_damage(found["damage"].output) if "damage" in found else (),
        )
