"""systemd units enabled, running and restarted for newer files: decided by state, not by what a run did."""

from __future__ import annotations

import shlex
from collections.abc import Generator, Sequence
from dataclasses import dataclass

from pyinfra.api.command import PyinfraCommand, StringCommand
from pyinfra.context import host

from ingot.facts.units import FUNCTIONS, STAMPS, Units, UnitState
from ingot.operations import changes
from ingot.operations.operation import operation
from ingot.operations.refuse import refuse
from ingot.operations.standing import standing


@dataclass(frozen=True, slots=True)
class Unit:
    """The wanted state of a unit.

    `restart_on` are files or directories that it reads only when it starts; `reload_on` those that a reload reads.
    """

    name: str
    enabled: bool = True
    running: bool = True
    restart_on: Sequence[str] = ()
    reload_on: Sequence[str] = ()

    @property
    def full_name(self) -> str:
        """The name with its suffix: `docker` is `docker.service`."""
        return self.name if "." in self.name else f"{self.name}.service"


@dataclass(frozen=True, slots=True)
class Action:
    """One verb of systemctl for one unit, and why."""

    unit: Unit
    verb: str
    why: str


def decide(unit: Unit, now: UnitState | None) -> list[Action]:
    """What to do with one unit: enable or disable it, then at most one of start, stop, restart, reload."""
    actions: list[Action] = []
    if unit.enabled and not (now and now.enabled):
        actions.append(Action(unit, "enable", "it is not enabled"))
    if not unit.enabled and now and now.enabled:
        actions.append(Action(unit, "disable", "it is enabled"))
    if not unit.running:
        if now and now.active:
            actions.append(Action(unit, "stop", "it is running"))
    elif now is None or not now.active:
        actions.append(Action(unit, "start", "it has failed" if now and now.failed else "it is not running"))
    elif unit.restart_on and now.restart_is_due:
        actions.append(Action(unit, "restart", f"{_listed(unit.restart_on)} changed since it started"))
    elif unit.reload_on and now.reload_is_due:
        actions.append(Action(unit, "reload", f"{_listed(unit.reload_on)} changed since it read them"))
    return actions


def _listed(paths: Sequence[str]) -> str:
    return paths[0] if len(paths) == 1 else f"one of {', '.join(paths)}"


def script(host_name: str, actions: Sequence[Action], daemon_reload: bool, timeout_s: int) -> str:
    """The shell command that takes the actions in order, and stops with one sentence at the first that fails."""
    lines = [
        "set -u; export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        FUNCTIONS.rstrip(" ;"),
        # The unit's own last words say more than "control process exited with error code".
        'act() { said=$(timeout "$3" systemctl "$1" -- "$2" 2>&1) && return; '
        'last=$(journalctl -q -b -n 1 -o cat "_SYSTEMD_UNIT=$2" 2>/dev/null); '
        f'echo {shlex.quote(host_name)}": systemctl $1 $2 failed: ${{last:-$said}}; '
        'see journalctl -u $2 there" >&2; exit 1; }',
        f"mkdir -p -m 0755 {STAMPS.rpartition('/')[0]} && mkdir -p -m 0700 {STAMPS}",
    ]
    if daemon_reload:
        lines.append("systemctl daemon-reload")
    for action in actions:
        unit, name = action.unit, shlex.quote(action.unit.full_name)
        if action.verb not in ("start", "restart", "reload"):
            lines.append(f"act {action.verb} {name} {timeout_s}")
            continue
        # Digests first: a file that changes meanwhile is seen by the next run.
        restart_on, reload_on = (" ".join(map(shlex.quote, paths)) for paths in (unit.restart_on, unit.reload_on))
        lines += [
            # A unit that failed too often in a row would be refused for that alone.
            *([f"systemctl reset-failed -- {name} 2>/dev/null"] if action.verb == "start" else []),
            f"restart=$(digest {restart_on}); reload=$(digest {reload_on})",
            f"act {action.verb} {name} {timeout_s}",
            f"act is-active {name} {timeout_s}",
            f'echo "$(systemctl show --value -p InvocationID -- {name}) $restart $reload" >{STAMPS}/{name}',
        ]
    return "\n".join(lines)


def verified(*paths: str) -> str:
    """A validator for `tree`: systemd's own check of staged unit files.

    It looks at the units that these name as well; what it says of others refuses nothing.
    """
    staged = " ".join(f"{{stage}}{path}" for path in paths)
    names = " ".join(f"-e {path.rpartition('/')[2]}" for path in paths)
    # In braces: after `&&` the `||` would forgive what was refused before it.
    return (
        f"{{ said=$(systemd-analyze verify --man=no {staged} 2>&1) || ! printf '%s\\n' \"$said\" | grep -F {names}; }}"
    )


@operation()
def units(*wanted: Unit, timeout_s: int = 180) -> Generator[PyinfraCommand, None, None]:
    """
    Have systemd units enabled and running with the files that are there now, in one look.

    + wanted: Unit, in the order in which they are acted on
    + timeout_s: how long one action may take

    Whether a restart is due is read from the host (digests kept since the last start in /run/ingot/units, else the
    times of the files and of the unit), so a run killed between writing a file and restarting is made good by the
    next. systemd's configuration is read again only when it is out of date for one of these units.

    **Example:**

    .. code:: python

        units.units(
            units.Unit("nginx", restart_on=("/etc/nginx/modules-enabled",), reload_on=("/etc/nginx",)),
            name="Run nginx",
        )
    """
    watched = {unit.full_name: [list(unit.restart_on), list(unit.reload_on)] for unit in wanted}
    look = standing(host, Units, watched=watched)
    masked = [unit.full_name for unit in wanted if unit.running and (now := look.get(unit.full_name)) and now.masked]
    if masked:
        yield refuse(f"{host.name}: {', '.join(masked)} is masked; run `systemctl unmask` there if it shall run")
        return
    states = {unit.full_name: look.get(unit.full_name) for unit in wanted}
    actions = [action for unit in wanted for action in decide(unit, states[unit.full_name])]
    stale = [name for name, now in states.items() if now and now.needs_daemon_reload]
    unknown = [action for action in actions if not (now := states[action.unit.full_name]) or not now.loaded]
    if not actions and not stale:
        host.noop(f"{', '.join(states)} run with their present files")
        return
    changes.announce([f"read systemd's configuration again for {name}" for name in stale])
    changes.announce(f"{action.verb} {action.unit.full_name}: {action.why}" for action in actions)
    yield StringCommand(script(host.name, actions, bool(stale or unknown), timeout_s))
