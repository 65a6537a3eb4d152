"""What lies below a cache's root of Ingot's own, and what needs it: what runs, is planned, or can be gone back to."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pyinfra.api.facts import FactBase

from ingot.facts.engine import STATE
from ingot.facts.errors import ParseError
from ingot.facts.models import MADE
from ingot.facts.sections import compose, split

#: What names directories of models: the plan, services that were proven, and states to go back to.
_NAMING = f"{STATE}/plan.json {STATE}/engine/last-good/*.json {STATE}/good/*.json"
#: The units that fetch models: one that a run waits for, and one that began early or goes on after a reboot.
TRANSFERS = "ingot-models.service ingot-transfers.service"


@dataclass(frozen=True, slots=True)
class CacheDirectory:
    """A directory that says of itself what Ingot made it as: its own path, or that of the model it was to become."""

    path: str
    made_as: str
    bytes: int

    @property
    def is_ours(self) -> bool:
        """Whether it is what it says, and no copy."""
        return self.path in (self.made_as, f"{self.made_as}.incomplete", f"{self.made_as}.incoming")


@dataclass(frozen=True, slots=True)
class Contents:
    """One look. `needed` are paths that containers mount, that processes have open, or that Ingot's state names.

    `replicas` are models and variants of the plan, `docker` says whether it could be asked, `transferring` whether
    models are being fetched.
    """

    directories: tuple[CacheDirectory, ...] = ()
    needed: frozenset[str] = frozenset()
    replicas: frozenset[tuple[str, str]] = frozenset()
    docker: bool = False
    transferring: bool = False


class CacheContents(FactBase[Contents]):
    """The directories below a cache's root that Ingot made, and what needs them, in one command that reads no weights.

    Returns: Contents((CacheDirectory("/srv/models/a/bf16/…", "/srv/models/a/bf16/…", 5061234),), …, docker=True)
    """

    def command(self, root: str) -> str:
        quoted = shlex.quote(root)
        below = shlex.quote(root.rstrip("/") + "/*")
        pattern = shlex.quote(re.escape(root.rstrip("/")).replace("/", "[/]") + '/[^"]*')
        return compose(
            {
                "directories": f"find {quoted} -mindepth 2 -maxdepth 5 -name {MADE} -type f -printf '%h\\n' "
                "2>/dev/null | while read -r d; do "
                "size=$(find \"$d\" -type f -links 1 -printf '%s\\n' "
                "| awk '{ sum += $1 } END { printf \"%.0f\", sum }'); "
                f'printf "%s\\t%s\\t%s\\n" "$size" "$d" "$(head -n 1 "$d/{MADE}")"; done',
                "docker": "command -v docker >/dev/null || exit 0; ids=$(timeout 30 docker ps -aq) || exit 1; "
                '[ -z "$ids" ] || docker inspect --format '
                "'{{range .Mounts}}{{.Source}}{{println}}{{end}}' $ids",
                "open": f"find /proc/[0-9]*/fd -lname {below} -printf '%l\\n' 2>/dev/null | sort -u",
                "named": f"cat {_NAMING} 2>/dev/null | grep -oE {pattern} | sort -u",
                "plan": f"cat {STATE}/plan.json 2>/dev/null",
                "transfer": f"systemctl show --value -p ActiveState {TRANSFERS} | grep -Eq '^(active|activating)$'",
            }
        )

    @staticmethod
    def default() -> Contents:
        return Contents()

    def process(self, output: Iterable[str]) -> Contents:
        try:
            found = split(output)
        except ParseError:
            return Contents()

        def lines(name: str) -> list[str]:
            return [line for line in found[name].output.splitlines() if line.strip()] if name in found else []

        cells = (line.split("\t") for line in lines("directories"))
        return Contents(
            tuple(CacheDirectory(path, made_as, int(size)) for size, path, made_as in cells),
            frozenset({*lines("docker"), *lines("open"), *lines("named")}),
            parse_replicas("\n".join(lines("plan"))),
            docker="docker" in found and found["docker"].status == 0,
            transferring="transfer" not in found or found["transfer"].status == 0,
        )


def parse_replicas(plan: str) -> frozenset[tuple[str, str]]:
    """Models and variants of a stored plan; none where there is no plan."""
    try:
        stored: Mapping[str, Any] = json.loads(plan)
        return frozenset((str(one["model"]), str(one["variant"])) for one in stored["plan"]["replicas"])
    except (ValueError, KeyError, TypeError):
        return frozenset()
