"""What a caller needs besides a key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ingot.secrets.pki import CA_CERTIFICATE_FILE
from ingot.settings.gateway import Gateway


@dataclass(frozen=True)
class Access:
    """Where to call, and the file of the CA to trust (None: the certificate is from a CA that everybody knows)."""

    base_urls: tuple[str, ...]
    ca: Path | None


def access(secrets: Path, gateways: Mapping[str, Gateway]) -> Access:
    """How to reach gateways, given by host: each by its first name, else by the host's."""
    names = dict.fromkeys(next(iter(one.gateway_names), host) for host, one in gateways.items())
    internal = any(one.gateway_certificate == "internal" for one in gateways.values())
    return Access(tuple(map(_url, names)), secrets / CA_CERTIFICATE_FILE if internal else None)


def _url(name: str) -> str:
    return f"https://[{name}]/v1" if ":" in name else f"https://{name}/v1"
