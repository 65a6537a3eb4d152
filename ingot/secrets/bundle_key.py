"""The key that signs bundles, and the public one by which a site knows them (Ed25519, RFC 8032)."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from ingot.errors import IngotError
from ingot.secrets import files

#: The private key, beside the CA of an inventory.
KEY_FILE = "bundle.key"


def signing_key(secrets_dir: Path) -> ed25519.Ed25519PrivateKey:
    """The private key of this directory, made at the first call.

    Raises: IngotError when others may read it, or it is no such key.
    """
    path = secrets_dir / KEY_FILE
    if not path.exists():
        made = ed25519.Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        files.create_once(path, made.decode())
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise IngotError(f"{path}: others may read this key, expected mode 0600; run `chmod 600 {path}`.")
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError) as error:
        raise IngotError(
            f"{path}: not a key ({error}); take it from a backup, or remove it to make a new one."
        ) from None
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise IngotError(f"{path}: not an Ed25519 key; remove it to make a new one.")
    return key


def public_pem(key: ed25519.Ed25519PrivateKey) -> str:
    """The public key as a file has it."""
    return _pem(key.public_key())


def fingerprint(public: str) -> str:
    """SHA-256 of a public key's DER form, as people compare it. Raises: IngotError where it is no such key."""
    der = _public(public).public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


def is_signed(content: bytes, signature: bytes, public: str) -> bool:
    """Whether a public key (PEM) says that the signature is of this content."""
    try:
        _public(public).verify(signature, content)
    except InvalidSignature:
        return False
    return True


def _public(pem: str) -> ed25519.Ed25519PublicKey:
    try:
        key = serialization.load_pem_public_key(pem.encode())
    except ValueError:
        key = None
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise IngotError("the public key of bundles is no Ed25519 key in PEM; take the file that `create` has written.")
    return key


def _pem(key: ed25519.Ed25519PublicKey) -> str:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
