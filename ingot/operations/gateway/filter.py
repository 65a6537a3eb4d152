"""The filter's container. A new one starts beside the old one and answers with its digest; then the old one may end."""

from __future__ import annotations

import shlex
from collections.abc import Generator

from pyinfra.api.command import PyinfraCommand, StringCommand
from pyinfra.context import host, state

from ingot.errors import IngotError
from ingot.facts.filter import HEALTH, PROJECT, FilterContainer, FilterHost
from ingot.operations import changes, refuse
from ingot.operations.containers.image import image_source
from ingot.operations.gateway import filter_site
from ingot.operations.gateway.filter_site import COMPOSE, Filter, tmpfiles
from ingot.settings import of_host as of

#: How long a new process is given until it answers, seconds.
START_S = 60

Commands = Generator[PyinfraCommand, None, None]


def of_host() -> Filter | None:
    """The filter that the host in context needs; None where no team asked for one.

    Raises: IngotError where there is no image to run it from.
    """
    values = of(host)
    if not any(team.filtered for team in values.teams.values()):
        return None
    try:
        image = image_source(values).reference
    except IngotError as refusal:
        raise IngotError(f"the filter runs from the engine's image, and {refusal}") from refusal
    return filter_site.wanted(
        tuple(values.teams.values()),
        values.redact_patterns,
        values.gateway_redact_thresholds,
        values.gateway_default_max_tokens,
        image,
        values.gateway_read_timeout_s,
    )


def sockets(found: FilterHost, wanted: Filter | None) -> Commands:
    """Make the directory of the sockets: nginx' new configuration names it. At boot, systemd-tmpfiles makes it."""
    if wanted and not found.sockets:
        yield StringCommand(f"printf '%s' {shlex.quote(tmpfiles())} | systemd-tmpfiles --create -")


def start(found: FilterHost, wanted: Filter | None) -> Commands:
    """Start the wanted container; a container with other files finishes the answers that it has begun, then it ends."""
    if wanted is None or (found.serving == wanted.digest and not _others(found, wanted)):
        return
    if state.is_executing and not found.docker:
        yield refuse.refuse(
            f"{host.name}: {', '.join(wanted.teams)} asked for redaction, request checks or a budget of tokens, which "
            "needs Docker and the engine's image, and this host has no Docker; take these out of gateway_teams for it."
        )
        return
    if found.serving != wanted.digest:
        changes.announce([f"start the filter {wanted.digest} for {', '.join(wanted.teams)}"])
        yield StringCommand(_start(wanted))
    others = _others(found, wanted)
    changes.announce([f"let the filter {one.digest} end" for one in others])
    for one in others:
        yield StringCommand(_end(one, wanted.stop_grace_s))


def remove(found: FilterHost, wanted: Filter | None, stop_grace_s: int) -> Commands:
    """Let every container of the filter end where nobody needs it."""
    if wanted is not None:
        return
    others = [one for one in found.containers if not (one.drains and one.running)]
    changes.announce([f"let the filter {one.digest} end: no team needs it" for one in others])
    for one in others:
        yield StringCommand(_end(one, stop_grace_s))


def _others(found: FilterHost, wanted: Filter) -> list[FilterContainer]:
    """Containers of earlier filters that were not told to end yet, and stopped ones that were not removed."""
    return [one for one in found.containers if one.digest != wanted.digest and not (one.drains and one.running)]


def _start(wanted: Filter) -> str:
    """Start it and wait until it answers; a container that does not is removed, and the one before goes on serving."""
    name, log = wanted.container, "/run/ingot/filter-start.log"
    sorry = f"{host.name}: the filter did not start"
    return (
        f"docker compose --file {COMPOSE} up --detach --no-build --pull never --force-recreate --timeout 5 "
        f">{log} 2>&1; "
        f"for attempt in $(seq {START_S * 2}); do "
        f'{HEALTH} | grep -q \'"digest":"{wanted.digest}"\' && exit 0; '
        f'[ "$(docker inspect --format "{{{{.RestartCount}}}}" {name} 2>/dev/null)" = 0 ] || break; sleep 0.5; done; '
        f"docker logs --tail 20 {name} >>{log} 2>&1; "
        f"docker ps --all --quiet --filter name='^{name}$' --filter label=com.docker.compose.project={PROJECT} "
        f"| xargs -r docker rm --force >/dev/null 2>&1; cat {log} >&2; "
        f"echo {shlex.quote(sorry)}', expected it to answer within {START_S} s; read its words above, which are kept "
        f"in {log} there, and deploy again.' >&2; exit 1"
    )


def _end(one: FilterContainer, stop_grace_s: int) -> str:
    """Tell a container to end, and take it away when its last answer has: in a unit of its own, for it may take long.

    Its restart policy goes first, or a boot in between would start it again; by that it is known to end.
    """
    if not one.running:
        return f"docker rm --force {one.name} >/dev/null"
    steps = (f"update --restart no {one.name}", f"stop --time {stop_grace_s} {one.name}", f"rm --force {one.name}")
    end = "; ".join(f"docker {step}" for step in steps)
    return f"systemd-run --quiet --collect --unit {one.name}-end sh -c {shlex.quote(end)}"
