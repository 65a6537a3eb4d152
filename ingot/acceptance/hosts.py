"""Acceptance of every host that is meant, at the same time, and where its records are kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paramiko import SSHException
from pyinfra.api.host import Host

from ingot.acceptance import evidence, runner
from ingot.acceptance.evidence import Outcome
from ingot.errors import IngotError
from ingot.inventory.fleet import Selected, asked, at_once, connected, secrets_of
from ingot.operations import lock
from ingot.runs import told

#: Tells how far a host is: its name, what it does, and at its end the result.
Say = Callable[[str, str, str], None]


@dataclass(frozen=True)
class Accepted:
    """What came of a run: the outcome of each host that was gone through, a sentence for each other one."""

    outcomes: tuple[Outcome, ...]
    errors: tuple[IngotError, ...]


def directory_of(chosen: Selected) -> Path:
    """Where the records of an inventory's hosts are kept."""
    return secrets_of(chosen.path, chosen.state) / evidence.DIRECTORY


def accept(chosen: Selected, options: runner.Options, say: Say) -> Accepted:
    """Accept every host at once and keep its record; what fails for one stops no other."""
    directory = directory_of(chosen)

    def one(host: Host) -> Outcome | IngotError:
        name = host.name
        try:
            if sentence := _of_group(host, options):
                raise IngotError(sentence)
            say(name, "connecting", "")
            with connected(host):
                _hold(host)
                fleet = evidence.fleet(directory, options.level.name, without=name)
                outcome = runner.accept(host, name, options, lambda text: say(name, text, ""), fleet)
                told.conclude(host, str(outcome.verdict), "; ".join(outcome.reasons))
        except IngotError as refused:
            error = refused
        except (OSError, EOFError, SSHException) as broken:
            error = IngotError(f"{name}: the connection broke ({broken!r}); the host goes on, run the same line again.")
        else:
            evidence.write(directory, name, outcome.at, outcome.to_dict())
            say(name, outcome.reasons[0] if outcome.reasons else "as it should be", str(outcome.verdict))
            return outcome
        say(name, str(error), "error")
        return error

    answers = at_once(chosen.state, chosen.hosts, one)
    return Accepted(
        tuple(answer for answer in answers if isinstance(answer, Outcome)),
        tuple(answer for answer in answers if isinstance(answer, IngotError)),
    )


def override(chosen: Selected, reason: str) -> Sequence[dict[str, Any] | IngotError]:
    """Let each host serve that failed, with the reason, and keep that: each one's acceptance as it is now."""
    directory = directory_of(chosen)

    def one(host: Host) -> dict[str, Any]:
        _hold(host)
        acceptance = {"host": host.name, **runner.override(host, host.name, reason)}
        evidence.write(directory, host.name, acceptance["override"]["at"], acceptance)
        told.conclude(host, "overridden", reason)
        return acceptance

    return asked(chosen, one)


def _of_group(host: Host, options: runner.Options) -> str | None:
    """Why the GPUs of a host cannot be taken from it, by what it serves together with others; None where they can."""
    serve = [item for item in host.data.get("serve") or () if isinstance(item, dict)]
    item = next((one for one in serve if one.get("hosts")), None)
    if not item or not options.burn_in:
        return None
    others = " and ".join(str(name) for name in item["hosts"] if name != host.name)
    return (
        f"{host.name}: it serves {item.get('model')} together with {others}, expected a host whose GPUs can be taken from "
        "it alone; accept it with --no-burn-in, or take the item out of the `serve` of all of them, deploy them, and "
        "accept each before it joins again."
    )


def _hold(host: Host) -> None:
    """Hold a connected host for its acceptance. Raises: Held."""
    lock.hold(host, "accept")
    told.conclude(host, "failed", "it was not gone through to its end")
