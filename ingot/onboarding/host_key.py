"""Whether the key that a server shows may be trusted: pinned, required, confirmed, or refused. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ingot.errors import IngotError
from ingot.onboarding.known_hosts import HostKey, Pin, entry_name
from ingot.onboarding.route import Hop

_FINGERPRINT = re.compile(r"^SHA256:[A-Za-z0-9+/]{43}=?$")

#: How OpenSSH names the file of a key type on the server.
_FILES = {"ssh-ed25519": "ed25519", "ssh-rsa": "rsa"}


class WrongKey(IngotError):
    """A key that is not the required one; `required` is the fingerprint that was asked for."""

    def __init__(self, sentence: str, required: str) -> None:
        super().__init__(sentence)
        self.required = required


@dataclass(frozen=True, slots=True)
class Rules:
    """What the operator said of host keys: a fingerprint that is required, or that new ones are to be believed."""

    fingerprint: str | None = None
    accept_new: bool = False


def fingerprint(text: str, name: str) -> str:
    """A fingerprint as `ssh-keygen -l` prints it, without padding.

    Raises: IngotError when the text is not a fingerprint.
    """
    if not _FINGERPRINT.match(text):
        raise IngotError(
            f"{name}: {text[:80]!r} is no fingerprint, expected SHA256: and 43 characters as `ssh-keygen -lf "
            "/etc/ssh/ssh_host_ed25519_key.pub` prints it on the server; correct it."
        )
    return text.rstrip("=")


def is_trusted(name: str, hop: Hop, shown: HostKey, pinned: Sequence[Pin], rules: Rules, file: Path) -> bool:
    """Whether a key is trusted without a question: it is pinned, it is the required one, or new ones are accepted.

    Raises: IngotError, before anything but the key exchange was sent, for a key that is not the pinned or required one.
    """
    if rules.fingerprint and shown.fingerprint != rules.fingerprint:
        raise WrongKey(
            f"{name}: {hop.label} shows the host key {shown.kind} {shown.fingerprint}, expected {rules.fingerprint}; "
            f"compare both with what `{on_the_console(shown)}` prints on its console, and go on only if one is right.",
            rules.fingerprint,
        )
    if any(pin.key == shown for pin in pinned):
        return True
    if rules.fingerprint and all(pin.key.kind != shown.kind for pin in pinned):
        return True
    if pinned:
        old = next((pin for pin in pinned if pin.key.kind == shown.kind), pinned[0])
        entry = entry_name(hop.address, hop.port)
        raise IngotError(
            f"{name}: the host key of {hop.label} is {shown.kind} {shown.fingerprint}, but line {old.line} of {file} "
            f"pins {old.key.kind} {old.key.fingerprint}; if it was reinstalled, compare with `{on_the_console(shown)}` "
            f"on its console, run `ssh-keygen -R '{entry}' -f {file}` and onboard it again, otherwise stop: "
            "someone may be in between."
        )
    return rules.accept_new


def unconfirmed(name: str, hop: Hop, shown: HostKey, *, is_target: bool) -> IngotError:
    """The refusal of a new key where nobody can be asked."""
    option = "--fingerprint" if is_target else "--jump-fingerprint"
    return IngotError(
        f"{name}: {hop.label} shows the unknown host key {shown.kind} {shown.fingerprint} and nobody can confirm it "
        f"here; compare it on its console (`{on_the_console(shown)}`) and pass {option} {shown.fingerprint}, "
        "or --accept-new to believe what answers."
    )


def on_the_console(key: HostKey) -> str:
    """The command that prints a key's fingerprint on the server itself."""
    return f"ssh-keygen -lf /etc/ssh/ssh_host_{_FILES.get(key.kind, 'ecdsa')}_key.pub"
