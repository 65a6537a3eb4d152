"""The operator's keys: which are installed on a server, and which one can prove the new login from here."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from paramiko import Agent, AgentKey, PKey, SSHException

from ingot.errors import IngotError

#: Private keys that SSH clients find by themselves.
DEFAULT_NAMES = ("id_ed25519", "id_ecdsa", "id_rsa")


@dataclass(frozen=True, slots=True)
class PublicKey:
    """One public key: type, base64 text and comment; `file` is where it was read, None from the agent."""

    kind: str
    text: str
    comment: str = ""
    file: Path | None = None

    @property
    def line(self) -> str:
        """As authorized_keys has it."""
        return f"{self.kind} {self.text} {self.comment}".strip()


@dataclass(frozen=True, slots=True)
class Identity:
    """A private key that can be used now; `file` is None where the agent holds it."""

    key: PKey
    file: Path | None = None

    @property
    def label(self) -> str:
        """How a sentence names it."""
        return f"key {self.file}" if self.file else "a key of the agent"

    @property
    def is_found_by_clients(self) -> bool:
        """Whether SSH clients offer it without being told."""
        return self.file is None or self.file in [Path.home() / ".ssh" / name for name in DEFAULT_NAMES]


def parse_public(text: str, file: Path) -> tuple[PublicKey, ...]:
    """The keys of a .pub file, one per line.

    Raises: IngotError when it holds none, or a private key.
    """
    if "PRIVATE KEY" in text:
        raise IngotError(f"{file}: this is a private key, expected its public half; name {file}.pub.")
    found = []
    for line in text.splitlines():
        cells = line.split(None, 2)
        if not cells or cells[0].startswith("#"):
            continue
        if len(cells) < 2 or not _is_public(cells[0], cells[1]):
            raise IngotError(f"{file}: {line[:40]!r} is no public key, expected `ssh-ed25519 AAAA… name`; correct it.")
        found.append(PublicKey(cells[0], cells[1], cells[2].strip() if len(cells) > 2 else "", file))
    if not found:
        raise IngotError(f"{file}: no public key in it; name the .pub file of a key pair.")
    return tuple(found)


def read_public(path: Path) -> tuple[PublicKey, ...]:
    """The keys of a .pub file. Raises: IngotError, one sentence naming the file."""
    try:
        return parse_public(path.expanduser().read_text(encoding="utf-8"), path.expanduser())
    except (OSError, UnicodeDecodeError) as error:
        raise IngotError(
            f"{path}: cannot be read ({error}); name a public key such as ~/.ssh/id_ed25519.pub."
        ) from None


def operators(files: Sequence[Path], identity: Path | None) -> tuple[PublicKey, ...]:
    """The public keys to install: the files given, else the public half of `identity`, the agent's, or those of ~/.ssh.

    Raises: IngotError when there is none.
    """
    if files:
        return _unique(key for path in files for key in read_public(path))
    if identity and identity.with_name(f"{identity.name}.pub").is_file():
        return read_public(identity.with_name(f"{identity.name}.pub"))
    held = [PublicKey(key.get_name(), key.get_base64(), str(getattr(key, "comment", ""))) for key in agent_keys()]
    if not held:
        held = [key for path in sorted((Path.home() / ".ssh").glob("*.pub")) for key in read_public(path)]
    if not held:
        raise IngotError(
            "no public key to install: the agent holds none and ~/.ssh has no .pub file; make a pair with "
            "`ssh-keygen -t ed25519`, or name one with --key FILE.pub."
        )
    return _unique(held)


def agent_keys() -> tuple[AgentKey, ...]:
    """What the SSH agent holds; empty without one."""
    try:
        return tuple(Agent().get_keys())
    except (SSHException, OSError):
        return ()


def proving(keys: Sequence[PublicKey], identity: Path | None) -> Identity:
    """A private key of one of the public keys, usable without a passphrase: the new login is proven with it.

    Raises: IngotError when there is none, since a login that cannot be proven must not replace the old one.
    """
    wanted = {key.text for key in keys}
    held = next((key for key in agent_keys() if key.get_base64() in wanted), None)
    candidates = [*([identity] if identity else ()), *(key.file.with_suffix("") for key in keys if key.file)]
    locked = []
    for path in candidates:
        key = load_private(path)
        if key is not None and key.get_base64() in wanted:
            return Identity(key, path)
        if key is None and path.is_file():
            locked.append(path)
    if held is not None:
        return Identity(held)
    hint = f"{locked[0]} has a passphrase; run `ssh-add {locked[0]}`" if locked else "add one with ssh-add or --key"
    raise IngotError(
        f"none of the {len(keys)} public keys has its private half here, expected one to prove the new login with; "
        f"{hint}."
    )


def load_private(path: Path) -> PKey | None:
    """A private key file; None when it is missing, no key, or needs a passphrase."""
    try:
        return PKey.from_path(path)
    # cryptography says with a TypeError that a passphrase is missing.
    except (SSHException, OSError, ValueError, TypeError):
        return None


def defaults() -> tuple[Identity, ...]:
    """The private keys that SSH clients try by themselves: the agent's, then those of ~/.ssh."""
    files = [Path.home() / ".ssh" / name for name in DEFAULT_NAMES]
    loaded = [Identity(key, path) for path in files if (key := load_private(path)) is not None]
    return (*(Identity(key) for key in agent_keys()), *loaded)


def _unique(keys: Iterable[PublicKey]) -> tuple[PublicKey, ...]:
    return tuple({key.text: key for key in keys}.values())


def _is_public(kind: str, text: str) -> bool:
    """Whether the base64 text begins with its own type, as RFC 4253 has it."""
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:
        return False
    return raw[4 : 4 + int.from_bytes(raw[:4], "big")] == kind.encode()
