"""What a proxy asks for and shows, as files of this machine hold it: a login, and the CA with which it opens TLS."""

from __future__ import annotations

from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ingot.errors import IngotError


def login(file: str) -> tuple[str, str]:
    """The user and the password in a file, as one line `USER:PASSWORD`.

    Raises: IngotError when it cannot be read, or holds anything else.
    """
    text = _read("login_file", file).strip("\r\n")
    user, colon, password = text.partition(":")
    if not (user and colon and password) or not text.isprintable():
        raise IngotError(f"login_file {file} of `proxy` holds no login, expected one line USER:PASSWORD; correct it.")
    return user, password


def authority(file: str) -> str:
    """The certificates in a file, as PEM and nothing else of it.

    Raises: IngotError when it cannot be read, or holds none.
    """
    try:
        found = x509.load_pem_x509_certificates(_read("ca_file", file).encode())
    except ValueError:
        raise IngotError(
            f"ca_file {file} of `proxy` holds no certificate, expected the proxy's CA as PEM; correct it."
        ) from None
    return "".join(one.public_bytes(Encoding.PEM).decode() for one in found)


def _read(key: str, file: str) -> str:
    try:
        return Path(file).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        words = error.strerror if isinstance(error, OSError) else "it is no text"
        raise IngotError(f"{key} {file} of `proxy` cannot be read ({words}); correct it.") from None
