"""Long work on a host in a systemd unit of its own: it survives a lost connection, and the run connects again."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from paramiko import SSHException
from pyinfra import context, logger
from pyinfra.api.arguments import CONNECTOR_ARGUMENT_KEYS
from pyinfra.api.command import FunctionCommand, PyinfraCommand, StringCommand
from pyinfra.api.host import Host
from pyinfra.api.state import State

from ingot.operations import progress
from ingot.operations.bundle import pack
from ingot.operations.connection import reconnect
from ingot.operations.refuse import refused

SCRIPT = (files(__package__) / "detached.sh").read_text()
#: Below these each unit has its directory and its log.
WORK = "/run/ingot"
LOGS = "/var/log/ingot"
#: What a reboot does not end has its files here meanwhile, for root alone.
AGAIN = "/var/lib/ingot/again"
#: One question about the unit waits this long for its end, seconds; then it is said how far it is.
SLICE_S = 10
#: How long a run tries to connect again, seconds.
RECONNECT_S = 180
_BEGUN = "ingot_units_begun"


def commands(
    unit: str, script: str, members: Mapping[str, str | bytes], limit_s: int
) -> Generator[PyinfraCommand, None, None]:
    """Run `script` as `unit` and wait for its end, across lost connections: `yield from detached.commands(…)`.

    The script gets a private directory with the members as its first argument and the path of its log as its
    second. When it fails it writes why, in one sentence, to `sentence` in that directory; what it writes there though
    it succeeds is said as a warning. A member `progress` is a
    shell snippet that prints one line on how far it is, with that directory as its first argument. After `limit_s`
    seconds the host fails, while the unit goes on and is waited for by the next run.
    """
    yield StringCommand(starter(unit, limit_s), _stdin=pack(packed(script, members)))
    yield FunctionCommand(attend, (unit, limit_s), {})


def begun(
    unit: str,
    script: str,
    members: Mapping[str, str | bytes],
    *,
    rivals: Iterable[str] = (),
    again: bool = False,
) -> Generator[PyinfraCommand, None, None]:
    """Start `script` as `unit` and leave it at work, for `joined` to wait for.

    Nothing is started where it is at work already, or one of its `rivals`, which work on the same files. With `again`
    a reboot does not end it: it is begun anew at boot, where the member `guard`, if any, succeeds, until it has ended
    or was joined.
    """
    busy = " ".join(f"{name}.service" for name in (unit, *rivals))
    alone = f"! systemctl is-active -q {busy} || exit 0\n{forgotten(unit)}\n{starter(unit, SLICE_S, again=again)}"
    yield StringCommand(alone, _stdin=pack(packed(script, members)))
    units: set[tuple[str, str]] = getattr(context.state, _BEGUN, set())
    setattr(context.state, _BEGUN, units | {(context.host.name, unit)})


def is_begun(unit: str) -> bool:
    """Whether this run has begun the unit on the host in context: then what came of it is to be said, too."""
    return (context.host.name, unit) in getattr(context.state, _BEGUN, ())


def joined(unit: str, limit_s: int) -> Generator[PyinfraCommand, None, None]:
    """Wait for the end of what was `begun` as `unit`, if it was; what came of it is for the caller to find out."""
    yield FunctionCommand(join, (unit, limit_s), {})


def starter(unit: str, patience_s: int, *, again: bool = False) -> str:
    """The shell command that starts the unit; what it runs comes by standard input."""
    kept = f"{AGAIN}/{unit}" if again else ""
    return f"unit={unit} patience={patience_s} work={WORK}/{unit} log={LOGS}/{unit}.log again={kept}\n{SCRIPT}"


def forgotten(unit: str) -> str:
    """The shell command after which no boot begins the unit again; what is at work goes on."""
    kept = f"{AGAIN}/{unit}"
    # A boot that is about to begin it is stopped first, so that whoever asks next sees it at work or not at all.
    return (
        f"[ ! -e {kept}/end.sh ] || {{ systemctl stop {unit}-again.service >/dev/null 2>&1; sh {kept}/end.sh; }}; "
        f"rm -rf -- {kept}.new"
    )


def packed(script: str, members: Mapping[str, str | bytes]) -> dict[str, bytes]:
    """The files for `starter`."""
    given = {**members, "run.sh": script}
    return {name: text.encode() if isinstance(text, str) else text for name, text in given.items()}


def question(unit: str, verbose: bool, *, joins: bool = False) -> str:
    """The shell command that waits a little for the unit, and prints `ended STATUS`, `running` or `gone`.

    Below it comes the sentence of a failure or the line of progress, with that of whatever else is at work there; with
    `verbose` new lines of the log first, each after `log `. Who `joins` the unit does what is left of it, so that no
    later boot begins it again.
    """
    log = (
        'size=$(stat -c %s "$log"); tail -c +$(($(cat seen) + 1)) "$log" | head -c $((size - $(cat seen))) '
        "| sed 's/^/log /'; echo; echo \"$size\" >seen; "
    )
    return (
        f"{forgotten(unit) + '; ' if joins else ''}"
        f"cd {WORK}/{unit} 2>/dev/null || {{ echo gone; exit 0; }}; log={LOGS}/{unit}.log; i=0; "
        f"active() {{ systemctl show --value -p ActiveState {unit}.service | grep -Evq 'inactive|failed'; }}; "
        f"while [ ! -e status ] && active && [ $i -lt {SLICE_S * 2} ]; do sleep 0.5; i=$((i + 1)); done; "
        f"{log if verbose else ''}"
        'if [ -e status ]; then echo "ended $(cat status)"; cat sentence 2>/dev/null; '
        'elif active; then echo running; { [ ! -e progress ] || sh progress "$PWD" 2>/dev/null | tail -n 1; '
        f"for d in {WORK}/ingot-*/; do "
        '[ "${d%/}" != "$PWD" ] && [ -e "${d}progress" ] && [ ! -e "${d}status" ] || continue; d=${d%/}; '
        'systemctl is-active -q "${d##*/}.service" || continue; sh "$d/progress" "$d" 2>/dev/null | tail -n 1; done; } '
        '| awk \'{ printf "%s%s", between, $0; between = "; " } END { print "" }\'; '
        "elif [ -e status ]; then echo running; else echo gone; fi; true"
    )


@dataclass(frozen=True, slots=True)
class Answer:
    """The state of a unit: ended, running or gone. `text` is the sentence of a failure or a line of progress."""

    state: str
    status: int = 0
    text: str = ""
    log: tuple[str, ...] = ()


def parse(output: str) -> Answer | None:
    """The answer to `question`; None when it is cut off."""
    lines = output.splitlines()
    log = tuple(line.removeprefix("log ") for line in lines if line.startswith("log "))
    rest = [line for line in lines if line.strip() and not line.startswith("log ")]
    if not rest:
        return None
    state, _, status = rest[0].partition(" ")
    if state not in ("ended", "running", "gone"):
        return None
    return Answer(state, int(status or 0), " ".join(rest[1:]).strip(), tuple(line.removeprefix("log ") for line in log))


def attend(state: State, host: Host, unit: str, limit_s: int) -> bool:
    """Wait for the unit's end, saying how far it is; True when it succeeded, else one sentence is logged."""
    answer = _ended(state, host, unit, limit_s)
    if isinstance(answer, str):
        return _failed(state, host, answer)
    if answer.state == "gone":
        return _failed(state, host, f"{unit}.service was killed before it ended; see `journalctl -u {unit}` there")
    if answer.status != 0:
        return _failed(state, host, answer.text or f"{unit} ended with status {answer.status}")
    if answer.text:
        logger.warning(f"{host.print_prefix}{answer.text}")
    return True


def join(state: State, host: Host, unit: str, limit_s: int) -> bool:
    """Wait until the unit is not at work, saying how far it is; False, with one sentence, where that did not come."""
    answer = _ended(state, host, unit, limit_s, joins=True)
    if isinstance(answer, str):
        return _failed(state, host, answer)
    if answer.state == "ended" and answer.text:
        logger.warning(f"{host.print_prefix}{answer.text}")
    return True


def _ended(state: State, host: Host, unit: str, limit_s: int, *, joins: bool = False) -> Answer | str:
    """`_end`, after which the terminal shows no more of how far it is."""
    try:
        return _end(state, host, unit, limit_s, joins=joins)
    finally:
        progress.ended(host)


def _end(state: State, host: Host, unit: str, limit_s: int, *, joins: bool) -> Answer | str:
    """The answer of a unit that is not at work any more, or the sentence on why nobody waits any longer."""
    began = answered = time.monotonic()
    connected = True
    while (now := time.monotonic()) - began < limit_s:
        # Without a connection there is nobody to ask: pyinfra's client would fail in a way of its own.
        answer = _ask(state, host, unit, joins=joins) if connected else None
        if answer is None:
            if now - answered > RECONNECT_S:
                return (
                    f"the connection was lost and not found again within {RECONNECT_S} s; {unit}.service goes on "
                    "there, run again to wait for it"
                )
            connected = reconnect(host)
            continue
        answered = time.monotonic()
        for line in answer.log:
            logger.info(f"{host.print_prefix}{line}")
        if answer.state != "running":
            return answer
        if answer.text:
            progress.said(host, answer.text)
    return f"{unit}.service is still at work after {limit_s} s and goes on; run again to wait for it"


def _failed(state: State, host: Host, sentence: str) -> bool:
    named = sentence if sentence.startswith(f"{host.name}:") else f"{host.name}: {sentence}"
    return refused(state, host, named)


def arguments(host: Host, timeout_s: int = SLICE_S + 30) -> dict[str, Any]:
    """How the operation in hand has the connector run a command (as root, most of all), for one that it asks itself."""
    given: Mapping[str, Any] = host.current_op_global_arguments or {}
    return {key: value for key, value in given.items() if key in CONNECTOR_ARGUMENT_KEYS} | {"_timeout": timeout_s}


def _ask(state: State, host: Host, unit: str, *, joins: bool) -> Answer | None:
    verbose = bool(getattr(state, "print_output", False))
    command = StringCommand(question(unit, verbose, joins=joins))
    try:
        _, output = host.run_shell_command(command, **arguments(host))
    except (OSError, EOFError, SSHException):
        return None
    return parse(output.stdout)
