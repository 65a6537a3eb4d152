"""systemd units as they are, and whether the files they depend on changed since they read them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pyinfra.api.facts import FactBase

from ingot.facts.sections import Question, split

#: Per unit: the invocation and the digests of the files that it last started with or reloaded.
STAMPS = "/run/ingot/units"

#: Shell functions over paths (files or directories): a digest of all contents, and the newest change time.
FUNCTIONS = (
    'digest() { for p in "$@"; do find "$p" -type f -exec sha256sum {} + 2>/dev/null | sort -k2; done '
    "| sha256sum | cut -c1-64; }; "
    "changed() { find \"$@\" -printf '%C@\\n' 2>/dev/null | sort -n | tail -n 1; }; "
)


@dataclass(frozen=True, slots=True)
class UnitState:
    """One unit. Times are seconds since 1970; 0 where it never happened."""

    loaded: bool
    masked: bool
    active: bool
    failed: bool
    enabled: bool
    needs_daemon_reload: bool
    invocation: str = ""
    started_at: float = 0.0
    changed_state_at: float = 0.0
    restart_digest: str = ""
    restart_changed_at: float = 0.0
    reload_digest: str = ""
    reload_changed_at: float = 0.0
    stamp: tuple[str, str, str] | None = None

    @property
    def restart_is_due(self) -> bool:
        """Whether a file that it reads at start only is newer than what it runs with."""
        if self.stamp and self.stamp[0] == self.invocation:
            return self.stamp[1] != self.restart_digest
        return self.restart_changed_at > self.started_at

    @property
    def reload_is_due(self) -> bool:
        """Whether a file that a reload reads is newer than its last start or reload."""
        if self.stamp and self.stamp[0] == self.invocation:
            return self.stamp[2] != self.reload_digest
        return self.reload_changed_at > max(self.started_at, self.changed_state_at)


#: Unit file states in which nothing is left to enable.
_ENABLED = {"enabled", "enabled-runtime", "static", "alias", "indirect", "generated", "transient"}


def parse_time(text: str) -> float:
    """Seconds since 1970 of systemd's `Sun 2026-11-22 22:19:05.123456 UTC`; 0.0 for none."""
    try:
        moment = datetime.strptime(text.partition(" ")[2], "%Y-%m-%d %H:%M:%S.%f UTC")
    except ValueError:
        return 0.0
    return moment.replace(tzinfo=UTC).timestamp()


def parse_unit(output: str) -> UnitState:
    """Lines `Name=value`: those of `systemctl show`, then restart, reload (digest and time) and stamp of ours.

    Returns: UnitState(loaded=True, masked=False, active=True, failed=False, enabled=True, …)
    """
    values = dict(line.split("=", 1) for line in output.splitlines() if "=" in line)
    stamp = values.get("stamp", "").split()
    restart, reload = values.get("restart", "").split(), values.get("reload", "").split()
    return UnitState(
        loaded=values.get("LoadState") == "loaded",
        masked=values.get("LoadState") == "masked",
        active=values.get("ActiveState") in ("active", "reloading"),
        failed=values.get("ActiveState") == "failed",
        enabled=values.get("UnitFileState") in _ENABLED,
        needs_daemon_reload=values.get("NeedDaemonReload") == "yes",
        invocation=values.get("InvocationID", ""),
        started_at=parse_time(values.get("ActiveEnterTimestamp", "")),
        changed_state_at=parse_time(values.get("StateChangeTimestamp", "")),
        restart_digest=restart[0] if restart else "",
        restart_changed_at=float(restart[1]) if len(restart) > 1 else 0.0,
        reload_digest=reload[0] if reload else "",
        reload_changed_at=float(reload[1]) if len(reload) > 1 else 0.0,
        stamp=(stamp[0], stamp[1], stamp[2]) if len(stamp) == 3 else None,
    )


_SHOW = (
    "systemctl show --timestamp=us+utc --property=LoadState,ActiveState,UnitFileState,NeedDaemonReload,"
    "InvocationID,ActiveEnterTimestamp,StateChangeTimestamp --"
)


class Units(FactBase[dict[str, UnitState]]):
    """Units by name, each with the paths that it must be restarted for and reloaded for.

    Returns: {"docker.service": UnitState(loaded=True, masked=False, active=True, …)}
    """

    def command(self, watched: Mapping[str, Sequence[Sequence[str]]]) -> str:
        questions = {}
        for index, (name, (restart_on, reload_on)) in enumerate(watched.items()):
            unit = shlex.quote(name)
            ask = f"echo name={unit}; {_SHOW} {unit}"
            for key, paths in (("restart", restart_on), ("reload", reload_on)):
                if paths:
                    quoted = " ".join(shlex.quote(path) for path in paths)
                    ask += f'; echo "{key}=$(digest {quoted}) $(changed {quoted})"'
            ask += f'; echo "stamp=$(cat {STAMPS}/{unit} 2>/dev/null)"'
            questions["unit" + "_" * index] = ask
        return Question.of(questions, FUNCTIONS)

    @staticmethod
    def default() -> dict[str, UnitState]:
        return {}

    def process(self, output: list[str]) -> dict[str, UnitState]:
        answers = (answer.output for answer in split(output).values())
        return {answer.partition("\n")[0].removeprefix("name="): parse_unit(answer) for answer in answers}
