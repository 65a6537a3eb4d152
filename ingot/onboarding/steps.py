"""The onboarding of one server, in order: nothing is changed before everything that could refuse it was looked at."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ingot.errors import IngotError
from ingot.facts.errors import Unread
from ingot.facts.hardware import HardwareLook, HardwareSeen
from ingot.onboarding import account, description, first_look, hardening, host_file, jump_config, known_hosts, waiting
from ingot.onboarding.connection import Connection
from ingot.onboarding.contact import Contact
from ingot.onboarding.first_look import FirstLook
from ingot.onboarding.known_hosts import entry_name
from ingot.onboarding.request import Outcome, Request, Talk
from ingot.operations.gateway import fronting


def onboard(request: Request, talk: Talk) -> Outcome:
    """Make a server a member of its inventory, or repair what an earlier run left; with `dry`, only look.

    Raises: IngotError, one sentence that begins with the host's name.
    """
    target = request.way.target
    outcome = Outcome(request.name, request.way.address)
    contact = Contact(request, talk)
    before = host_file.known(request.inventory, request.name, request.way.address, target.port) or {}
    connection = contact.first()
    try:
        talk.say(request.name, f"logged in {connection.how}")
        on_processor = request.on_processor or _serves_on_processor(before)
        fronts = not request.needs_gpu or fronting.GROUP in before.get("groups", ())
        needs_gpu = not (fronts or on_processor)
        _look(request, contact, connection, talk, outcome, needs_gpu=needs_gpu)
        _account(request, contact, connection, talk, outcome)
        _harden(request, contact, connection, talk, outcome)
        _write(request, outcome, on_processor=on_processor)
        stated = before.get("gpus")
        if stated and outcome.seen and not description.are_gpus(str(stated), outcome.seen):
            found = description.gpus_of(outcome.seen) or description.gpu_line(outcome.seen.gpus)
            outcome.remarks.append(f"its host file says gpus: {stated}, found {found}; correct the one that is wrong")
    finally:
        connection.close()
    return outcome


def _look(
    request: Request, contact: Contact, connection: Connection, talk: Talk, outcome: Outcome, *, needs_gpu: bool
) -> None:
    """Check everything that can refuse the server, and wait while the server is still setting itself up."""
    seen = first_look.look(connection)
    if refused := first_look.refusal(seen):
        raise IngotError(f"{request.name}: {refused}.")
    if seen.tmp_noexec:
        outcome.remarks.append("/tmp is mounted noexec: Ingot does not mind, installers that unpack programs there do")
    if connection.noise:
        outcome.remarks.append(
            f"its login shell prints {connection.noise!r} before every answer, which is left out; copies by scp and "
            "sftp fail for that: have its profile print only where `[ -t 1 ]`"
        )
    # Before sudo is judged: on a cloud image it is cloud-init that allows it.
    remark = waiting.for_cloud_init(connection, request.wait_s, lambda step: talk.say(request.name, step))
    if remark:
        outcome.remarks.append(remark)
    if seen.sudo_says:
        seen = first_look.look(connection)
    _allow_root(contact, connection, seen, talk)
    waiting.for_packages(connection, request.wait_s, lambda step: talk.say(request.name, step))
    outcome.seen = hardware(connection)
    talk.say(request.name, description.summary(outcome.seen))
    if needs_gpu and not outcome.seen.gpus:
        raise IngotError(
            f"{request.name}: no NVIDIA GPU on its PCI bus, expected at least one; check that the cards are seated, "
            "powered and listed by the BIOS, or pass --processor for a host that serves by llama.cpp without one, or "
            "--no-gpu for a host that only fronts others."
        )


def _serves_on_processor(before: Mapping[str, Any]) -> bool:
    """Whether a host's file names an engine that needs no GPU."""
    items = before.get("serve")
    named = [one.get("engine") for one in items if isinstance(one, Mapping)] if isinstance(items, list) else []
    return any(name in ("auto", "llama.cpp") for name in named)


def _allow_root(contact: Contact, connection: Connection, seen: FirstLook, talk: Talk) -> None:
    """Find out how to become root. Raises: IngotError when they are not."""
    name, user = connection.name, connection.user
    if user == "root" or seen.sudo_says is None:
        return
    if not seen.has_sudo:
        raise IngotError(
            f"{name}: no sudo on the server and {user} is not root, expected one of both; log in with --user root, or "
            "install sudo there."
        )
    said = seen.sudo_says
    if "tty" in said:
        raise IngotError(
            f"{name}: {user} logs in, but sudo wants a terminal (requiretty: {said!r}), expected none; add the "
            f"line `Defaults:{user} !requiretty` with `visudo -f /etc/sudoers.d/zz-ingot-tty` there, or log in with "
            "--user root."
        )
    prompt = f"sudo password of {user} on {name}"
    offers: tuple[Callable[[], str | None], ...] = (
        lambda: contact.request.sudo_password,
        lambda: contact.login_password,
        lambda: talk.secret(prompt),
    )
    for offer in offers:
        password = offer()
        if password is None:
            continue
        done = connection.accepts_sudo(password)
        if done.status == 0:
            connection.sudo_password = password
            return
        said = done.said
    raise IngotError(
        f"{name}: {user} logs in, but sudo says {said!r}, expected root's rights; add {user} to the group sudo, log in "
        "with --user root, or pass its password with --sudo-password-stdin."
    )


def hardware(connection: Connection) -> HardwareSeen:
    """What the server is made of. Raises: IngotError."""
    look = HardwareLook()
    seen = look.process(connection.as_root(look.command()).output.splitlines())
    if isinstance(seen, Unread):
        raise IngotError(f"{connection.name}: its hardware cannot be read: {seen.why.rstrip('.')}; run it again.")
    return seen


def _account(request: Request, contact: Contact, connection: Connection, talk: Talk, outcome: Outcome) -> None:
    """Set up the deploy user and prove its login in a new connection. The host key is pinned first."""
    target = request.way.target
    entry, key = entry_name(target.address, target.port), contact.target_key()
    if request.dry:
        if not any(pin.key == key for pin in known_hosts.pins(known_hosts.read(request.known_hosts), entry)):
            outcome.changes.append(f"pins {key.kind} {key.fingerprint} in {request.known_hosts}")
        outcome.changes += account.converge(connection, request.deploy_user, request.keys, dry=True)
        return
    for hop in (*request.way.jumps, target):
        trusted = contact.trusted[hop.address, hop.port]
        # A jump host of the user's own ssh_config is looked up where that says.
        file = request.known_hosts if hop == target else hop.known_hosts or request.known_hosts
        if known_hosts.pin(file, entry_name(hop.address, hop.port), trusted):
            outcome.changes.append(f"pins {trusted.kind} {trusted.fingerprint} of {hop.label} in {file}")
    talk.say(request.name, f"makes {request.deploy_user} ready")
    outcome.changes += account.converge(connection, request.deploy_user, request.keys)
    talk.say(request.name, f"proves the login of {request.deploy_user} with {request.identity.label}")
    contact.proof().close()


def _harden(request: Request, contact: Contact, connection: Connection, talk: Talk, outcome: Outcome) -> None:
    """Switch password and root logins off; switch them on again when the new login does not work any more."""
    if not request.harden or hardening.is_hard(connection):
        return
    outcome.changes.append(f"hardens sshd ({hardening.DROP_IN})")
    if request.dry:
        return
    talk.say(request.name, "hardens sshd and proves the login again")
    hardening.apply(connection)
    try:
        contact.proof_after_reload().close()
    except IngotError as refused:
        hardening.put_back(connection)
        raise IngotError(
            f"{request.name}: the new login does not survive the hardened sshd, so the old settings are back: {refused}"
        ) from None
    hardening.confirm(connection)


def _write(request: Request, outcome: Outcome, *, on_processor: bool) -> None:
    """Write the member's host file."""
    assert outcome.seen is not None
    target = request.way.target
    wanted: dict[str, Any] = {
        "address": request.way.address,
        "user": request.deploy_user,
        "port": target.port,
        "gpus": description.gpus_of(outcome.seen),
        "groups": None if outcome.seen.gpus or on_processor else [fronting.GROUP],
    }

    def portable(path: Path) -> Path:
        return host_file.portable(path, request.inventory)

    key = request.identity.file if not request.identity.is_found_by_clients else None
    if key:
        wanted["ssh_key"] = str(portable(key))
    if request.way.ssh_config:
        wanted["ssh_config"] = str(portable(request.way.ssh_config))
    elif request.way.jumps:
        ways = request.directory / "ssh_config"
        wanted["ssh_config"] = str(portable(ways))
        settings = jump_config.blocks(request.way, portable(request.known_hosts), portable(key) if key else None)
        if written := jump_config.write(ways, settings, dry=request.dry):
            outcome.changes.append(written)
    path = host_file.path_of(request.inventory, request.name)
    about = f"Onboarded by `ingot onboard`: {description.summary(outcome.seen)}."
    if written := host_file.write(path, about, wanted, dry=request.dry):
        outcome.changes.append(written)
