"""nginx' TLS: Mozilla's intermediate profile as the nginx and OpenSSL at hand can carry it."""

from __future__ import annotations

from dataclasses import dataclass

Version = tuple[int, ...]

#: `ssl_reject_handshake` (1.19.4) is the newest directive that every rendering needs.
OLDEST_NGINX: Version = (1, 19, 4)
#: Mozilla guideline 6.0, intermediate: ssl-config.mozilla.org/guidelines/6.0.json.
CURVES = ("X25519", "prime256v1", "secp384r1")
#: With `?` (OpenSSL 3.3) nginx still starts after OpenSSL was changed for one that does not know the group.
POST_QUANTUM_CURVE = "?X25519MLKEM768"
CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
)
#: What callers of an API send is far below; nginx' own limit is 1000.
MAX_HEADERS = 100


@dataclass(frozen=True)
class Profile:
    """How one nginx, running with one OpenSSL, is told the profile; `max_headers` is None before it is a directive.

    `keepalive_min`: it can keep idle connections for a moment when a reload ends their worker.
    """

    curves: tuple[str, ...]
    ciphers: tuple[str, ...]
    rotates_ticket_keys: bool
    http2_directive: bool
    max_headers: int | None
    keepalive_min: bool


def profile(nginx: Version, openssl: Version | None) -> Profile:
    """The profile for these versions; `openssl` is None while nginx is not installed.

    Source of the versions: nginx' CHANGES, and OpenSSL's of 3.5.0 for the post-quantum group.
    """
    return Profile(
        # nginx refuses to start with a group that OpenSSL does not know.
        curves=(POST_QUANTUM_CURVE, *CURVES) if openssl and openssl >= (3, 5) else CURVES,
        ciphers=CIPHERS,
        # From 1.23.2 on nginx rotates the ticket keys of a shared session cache by itself.
        rotates_ticket_keys=nginx >= (1, 23, 2),
        # Before: `listen … http2`, which later versions warn of.
        http2_directive=nginx >= (1, 25, 1),
        max_headers=MAX_HEADERS if nginx >= (1, 29, 8) else None,
        keepalive_min=nginx >= (1, 27, 4),
    )
