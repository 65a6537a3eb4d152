"""A certificate and its key in two files of the control machine, checked before they are sent to a host."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from ingot.errors import IngotError
from ingot.secrets.certificate_names import certificate_names, covers

#: Mozilla guideline 6.0, intermediate: RSA of at least this size, or one of these curves.
RSA_BITS = 2048
CURVES = ("secp256r1", "secp384r1")
#: Deploys warn this long before a certificate ends, or in the last third of a shorter lifetime.
WARN_BEFORE = timedelta(days=30)


@dataclass(frozen=True)
class Pair:
    """The host's certificate, then its issuers up to a root. `pem` is the key with these, as nginx reads them."""

    chain: tuple[x509.Certificate, ...]
    pem: str = field(repr=False)

    def ending(self, now: datetime | None = None) -> str | None:
        """When the certificate ends, in a few words, if that is soon; None if not."""
        leaf = self.chain[0]
        life = leaf.not_valid_after_utc - leaf.not_valid_before_utc
        left = leaf.not_valid_after_utc - (now or datetime.now(UTC))
        return f"ends {leaf.not_valid_after_utc:%Y-%m-%d}" if left < min(WARN_BEFORE, life / 3) else None


def read(certificate_file: Path, key_file: Path, names: Sequence[str], now: datetime | None = None) -> Pair:
    """Both files as a pair that is good for `names`.

    Raises: IngotError, one sentence, for the first thing that callers, nginx or Mozilla's profile would not accept.
    """
    chain = _chain(certificate_file)
    key = _key(key_file)
    leaf = chain[0]
    if leaf.public_key() != key.public_key():
        inside = [place for place, certificate in enumerate(chain) if certificate.public_key() == key.public_key()]
        raise IngotError(
            f"{certificate_file}: the certificate of this key is number {inside[0] + 1} in the file, expected it "
            "first and its issuers behind it; put them in that order."
            if inside
            else f"{certificate_file} and {key_file}: certificate and key do not belong together; give the key that "
            "the certificate was asked for with."
        )
    for subject, issuer in pairwise(chain):
        try:
            subject.verify_directly_issued_by(issuer)
        except (InvalidSignature, ValueError, TypeError) as error:
            raise IngotError(
                f"{certificate_file}: {_called(subject)} is not issued by {_called(issuer)}, which follows it; put "
                "each issuer behind what it issued."
            ) from error
    _good(certificate_file, chain, now or datetime.now(UTC))
    missing = [name for name in names if not covers(leaf, name)]
    if missing:
        raise IngotError(
            f"{certificate_file}: not good for {', '.join(missing)}, only for "
            f"{', '.join(sorted(certificate_names(leaf))) or 'no name at all'}; get one with these names, or correct "
            "gateway_names."
        )
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ) + b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in chain)
    return Pair(chain, pem.decode())


def _chain(file: Path) -> tuple[x509.Certificate, ...]:
    try:
        chain = tuple(x509.load_pem_x509_certificates(file.read_bytes()))
    except ValueError as error:
        raise IngotError(f"{file}: no certificate in it ({error}); give it as PEM, its issuers behind it.") from error
    except OSError as error:
        raise IngotError(f"{file}: {error.strerror}; correct gateway_certificate_file.") from error
    return chain


def _key(file: Path) -> rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey:
    try:
        mode = file.stat().st_mode & 0o777
        pem = file.read_bytes()
    except OSError as error:
        raise IngotError(f"{file}: {error.strerror}; correct gateway_certificate_key_file.") from error
    if mode & 0o077:
        raise IngotError(
            f"{file}: the private key has mode {mode:04o}, expected 0600; if nobody else can have read it run chmod "
            "600 on it, else replace key and certificate."
        )
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except TypeError as error:
        raise IngotError(
            f"{file}: the private key is encrypted, and nginx starts without anybody there to type its password; "
            "decrypt it (openssl pkey -in … -out …) into a file with mode 0600."
        ) from error
    except ValueError as error:
        raise IngotError(f"{file}: no private key in it ({error}); give it as PEM.") from error
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= RSA_BITS:
        return key
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in CURVES:
        return key
    what = f"RSA of {key.key_size} bits" if isinstance(key, rsa.RSAPrivateKey) else type(key).__name__.strip("_")
    if isinstance(key, ec.EllipticCurvePrivateKey):
        what = f"ECDSA on {key.curve.name}"
    raise IngotError(
        f"{file}: the key is {what}, expected ECDSA on P-256 or P-384, or RSA of {RSA_BITS} bits or more, which every "
        "caller accepts; get a certificate for such a key."
    )


def _good(file: Path, chain: Sequence[x509.Certificate], now: datetime) -> None:
    for certificate in chain:
        if certificate.not_valid_after_utc <= now:
            raise IngotError(
                f"{file}: {_called(certificate)} ended {certificate.not_valid_after_utc:%Y-%m-%d}; renew it."
            )
        if certificate.not_valid_before_utc > now:
            raise IngotError(
                f"{file}: {_called(certificate)} begins {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC; wait "
                "for that, or correct this machine's clock."
            )
        algorithm = certificate.signature_hash_algorithm
        # Clients do not check a root's own signature.
        if algorithm and algorithm.digest_size < 32 and certificate.issuer != certificate.subject:
            raise IngotError(
                f"{file}: {_called(certificate)} is signed with {algorithm.name}, expected SHA-256 or better; renew it."
            )
    try:
        usage = chain[0].extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return
    if ExtendedKeyUsageOID.SERVER_AUTH not in usage:
        raise IngotError(f"{file}: {_called(chain[0])} is not for servers (extended key usage); get one that is.")


def _called(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string() or "the certificate without a subject"
