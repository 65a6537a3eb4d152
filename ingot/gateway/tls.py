"""nginx' TLS: Mozilla's intermediate profile as the nginx and OpenSSL at hand can carry it."""

from __future__ import annotations

Version = tuple[int, ...]

#: Mozilla guideline 6.0, intermediate: ssl-config.mozilla.org/guidelines/6.0.json.
CURVES = ("X25519", "prime256v1", "secp384r1")
POST_QUANTUM_CURVE = "X25519MLKEM768"
CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
)


def curves(openssl: Version | None) -> tuple[str, ...]:
    """Key exchange groups; nginx refuses to start with the post-quantum one before OpenSSL 3.5."""
    return (POST_QUANTUM_CURVE, *CURVES) if openssl and openssl >= (3, 5) else CURVES


def values(nginx: Version, openssl: Version | None) -> dict[str, object]:
    """What templates/gateway/tls.conf.j2 and the `listen` lines need to know."""
    return {
        # From 1.23.2 on nginx rotates the ticket keys of a shared session cache by itself.
        "rotates_ticket_keys": nginx >= (1, 23, 2),
        "curves": ":".join(curves(openssl)),
        "ciphers": ":".join(CIPHERS),
    }
