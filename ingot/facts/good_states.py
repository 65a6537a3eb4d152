"""What a host would need to serve again as it serves now, and the states of that kind that it keeps."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pyinfra.api.facts import FactBase

from ingot.facts import sections
from ingot.facts.engine import parse_stored, stored
from ingot.facts.gateway import ENGINES
from ingot.facts.nginx_sites import CONFIGURATION
from ingot.facts.probe import lines_of

INCLUDED = "/etc/nginx/ingot"
#: Of the gateway's files these are no part of what serves: keys, certificates, the pool of the moment, pages.
NOT_KEPT = ("keys.map", "key_ids.map", "expiring_keys.map", "tls.conf", "engines.conf", "fleet.conf", "fleet-ca.pem")


@dataclass(frozen=True, slots=True)
class Serving:
    """`files` are the gateway's by path, `stored` the JSON files of the engine and of the states by path below
    /var/lib/ingot."""

    files: Mapping[str, str] = field(default_factory=dict)
    #: nginx' upstreams: on a host that only fronts others, a part of what it serves.
    engines: str = ""
    stored: Mapping[str, Any] = field(default_factory=dict)
    answered: bool = False

    @property
    def states(self) -> Sequence[Any]:
        """The states as they were written."""
        return [content for path, content in self.stored.items() if path.startswith("good/")]


class ServingLook(FactBase[Serving]):
    """The gateway's files without keys and certificates, the engine's, and the states that the host keeps.

    Returns: Serving({"/etc/nginx/nginx.conf": "…"}, {"plan.json": {…}, "good/4.json": {…}}, answered=True)
    """

    def command(self) -> str:
        names = " ".join(f"! -name {name}" for name in NOT_KEPT)
        return sections.Question.of(
            {
                "files": stored("plan.json", "upstreams.json", "engine/last-good/*.json", "good/*.json"),
                "gateway": f"for file in {CONFIGURATION} $(find {INCLUDED} -maxdepth 1 -type f {names} 2>/dev/null | "
                'sort); do if [ -f "$file" ]; then echo "$file $(base64 -w0 "$file")"; fi; done',
                "engines": f"cat {ENGINES} 2>/dev/null",
            }
        )

    @staticmethod
    def default() -> Serving:
        return Serving()

    def process(self, output: list[str]) -> Serving:
        found = sections.split(output)
        files = {}
        for line in lines_of(found, "gateway"):
            path, _, encoded = line.partition(" ")
            files[path] = base64.b64decode(encoded).decode(errors="replace")
        return Serving(files, found["engines"].output, parse_stored(found), answered=True)


class Missing(FactBase[tuple[str, ...] | None]):
    """Which of these images and paths a host lacks; None where it gave no answer.

    Returns: ("sha256:1f0c…",)
    """

    def command(self, images: Collection[str], paths: Collection[str]) -> str:
        quoted = [" ".join(map(shlex.quote, some)) for some in (images, paths)]
        return (
            f'for one in {quoted[0]}; do docker image inspect "$one" >/dev/null 2>&1 || echo "lacks $one"; done; '
            f'for one in {quoted[1]}; do [ -e "$one" ] || echo "lacks $one"; done; echo asked'
        )

    @staticmethod
    def default() -> tuple[str, ...] | None:
        return None

    def process(self, output: list[str]) -> tuple[str, ...] | None:
        lines = [line.strip() for line in output]
        if "asked" not in lines:
            return None
        return tuple(line.removeprefix("lacks ") for line in lines if line.startswith("lacks "))
