"""Certificates of every sort for tests: a root, an intermediate below it, and leaves as asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)
_MAY_SIGN = x509.KeyUsage(False, False, False, False, False, True, True, False, False)


@dataclass(frozen=True)
class Issued:
    """A certificate, its key, and what stands between it and the root."""

    key: Key
    certificate: x509.Certificate
    issuers: tuple[x509.Certificate, ...] = ()

    def write(self, directory: Path, chain: Sequence[x509.Certificate] | None = None) -> tuple[Path, Path]:
        """The pair as two files of `directory`; `chain` instead of the right one."""
        certificate_file, key_file = directory / "certificate.pem", directory / "key.pem"
        certificate_file.write_bytes(
            b"".join(map(pem, chain if chain is not None else (self.certificate, *self.issuers)))
        )
        key_file.write_bytes(key_pem(self.key))
        key_file.chmod(0o600)
        return certificate_file, key_file


def root() -> Issued:
    key = ec.generate_private_key(ec.SECP384R1())
    return Issued(key, _certificate("Root", key, "Root", key, authority=True))


def intermediate(parent: Issued) -> Issued:
    key = ec.generate_private_key(ec.SECP256R1())
    return Issued(key, _certificate("Intermediate", key, "Root", parent.key, authority=True))


def leaf(
    parent: Issued,
    *names: str,
    key: Key | None = None,
    begin: datetime = NOW - DAY,
    end: datetime = NOW + 90 * DAY,
    algorithm: hashes.HashAlgorithm | None = None,
    usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.SERVER_AUTH,
) -> Issued:
    """A certificate for `names` below `parent`, which is no root."""
    own = key or ec.generate_private_key(ec.SECP256R1())
    made = _certificate("Leaf", own, "Intermediate", parent.key, names, begin, end, algorithm, usage)
    return Issued(own, made, (parent.certificate,))


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def key_pem(key: Key, password: bytes | None = None) -> bytes:
    lock = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock)


def _certificate(
    subject: str,
    key: Key,
    issuer: str,
    signer: Key,
    names: Sequence[str] = (),
    begin: datetime = NOW - 365 * DAY,
    end: datetime = NOW + 3650 * DAY,
    algorithm: hashes.HashAlgorithm | None = None,
    usage: x509.ObjectIdentifier | None = None,
    *,
    authority: bool = False,
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if authority:
        builder = builder.add_extension(_MAY_SIGN, critical=True)
    if names:
        alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        builder = builder.add_extension(alternatives, critical=False)
    if usage:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    return builder.sign(signer, algorithm or hashes.SHA256())
