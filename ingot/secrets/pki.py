"""The internal certificate authority: it is kept on the control machine and signs the hosts' requests."""

from __future__ import annotations

import secrets
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ingot.errors import IngotError
from ingot.secrets import files
from ingot.secrets.certificate_names import (
    certificate_names,
    constraint,
    general_name,
    names_outside,
    normal,
    scope_text,
)

#: A clock that is slow by up to this much still accepts a new certificate.
CLOCK_SKEW = timedelta(hours=1)
CA_LIFETIME = timedelta(days=3650)
#: The longest lifetime of public certificates from 2029 on (CA/Browser Forum ballot SC-081v3).
LEAF_LIFETIME = timedelta(days=47)
#: A bundle's server shows its certificate to hosts of the inventory alone; `ingot bundle serve` renews it.
BUNDLE_LIFETIME = timedelta(days=366)
#: A deploy renews a certificate that ends sooner than this.
RENEW_BEFORE = timedelta(days=30)
#: Deploys warn this long before the CA ends: every caller must get the new CA first.
CA_WARN_BEFORE = timedelta(days=180)

#: Key and certificate of the CA in one file, so that the pair is made in one step or not at all.
CA_FILE = "ca.pem"
#: The certificate that callers trust: made from CA_FILE, not secret.
CA_CERTIFICATE_FILE = "ca.crt"
#: The common name of every certificate of a day. No host's name begins it: libtorrent before 2.0.13 compares only as
#: many letters as a name in the certificate has.
PEER = "_ingot-peer"


@dataclass(frozen=True)
class Authority:
    """A certificate authority: its private key and its own certificate."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def certificate_pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()


def authority(secrets_dir: Path, scope: Sequence[str] = ()) -> Authority:
    """The CA of this directory, made at the first call (ECDSA P-256, signs no further CA, 10 years).

    Any number of processes may call this at once: one of them makes the CA, all of them get it.
    `scope` limits a *new* CA to DNS zones and networks (`corp.example`, `10.0.0.0/8`); empty: no limit.

    Raises: IngotError when the key may be read by others, or the file is no CA.
    """
    ca_file = secrets_dir / CA_FILE
    if not ca_file.exists():
        files.create_once(ca_file, _new_authority(scope))
    ca = _load(ca_file)
    public = secrets_dir / CA_CERTIFICATE_FILE
    if not public.exists() or public.read_text(encoding="ascii") != ca.certificate_pem:
        files.replace(public, ca.certificate_pem, mode=0o644)
    return ca


def existing(secrets_dir: Path) -> Authority | None:
    """The CA of this directory; None where none was made yet.

    Raises: IngotError, as `authority`; OSError when it may not be read.
    """
    ca_file = secrets_dir / CA_FILE
    return _load(ca_file) if ca_file.exists() else None


def sign(
    ca: Authority, request_pem: str, names: Sequence[str], now: datetime | None = None, *, is_client: bool = False
) -> str:
    """The certificate (PEM) for a host's request; the names come from the inventory, not from the request.

    It is one for servers, or for a client alone: neither can be used as the other.

    Raises: IngotError when the request is not one, is not signed by its own key, or when the CA's scope
    does not cover a name.
    """
    try:
        request = x509.load_pem_x509_csr(request_pem.encode())
    except ValueError as error:
        raise IngotError(
            f"the certificate request is not PEM ({error}); remove it on the host and deploy again."
        ) from error
    if not request.is_signature_valid:
        raise IngotError(
            "the certificate request is not signed by its own key; remove it on the host and deploy again."
        )
    outside = names_outside(ca.certificate, names)
    if outside:
        raise IngotError(
            f"the CA is limited to {scope_text(ca.certificate)} and cannot sign for {', '.join(outside)}; "
            "rename the host, or make a new CA with a wider gateway_ca_scope."
        )
    begin = (now or datetime.now(UTC)) - CLOCK_SKEW
    end = min(begin + LEAF_LIFETIME, ca.certificate.not_valid_after_utc)
    if end <= begin + CLOCK_SKEW:
        raise IngotError(
            f"the CA ended {end:%Y-%m-%d}; move {CA_FILE} away, deploy, and give callers the new {CA_CERTIFICATE_FILE}."
        )
    usage = ExtendedKeyUsageOID.CLIENT_AUTH if is_client else ExtendedKeyUsageOID.SERVER_AUTH
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])]))
        .issuer_name(ca.certificate.subject)
        .public_key(request.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(x509.SubjectAlternativeName([general_name(name) for name in names]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(request.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.key.public_key()), critical=False)
    )
    leaf = builder.sign(ca.key, hashes.SHA256())
    return leaf.public_bytes(serialization.Encoding.PEM).decode()


def of_a_day(ca: Authority, names: Sequence[str], now: datetime | None = None) -> str:
    """A certificate and its key (PEM) by which hosts know each other for a day, as servers and as callers.

    Its common name is the same for all of them: by that one a swarm knows its own (swarm_on_host.py).

    Raises: IngotError when the CA's scope does not cover a name.
    """
    roles = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
    return _with_key(ca, names, timedelta(days=1), roles, now, PEER)


def of_a_bundle(ca: Authority, names: Sequence[str], now: datetime | None = None) -> str:
    """A certificate and its key (PEM) by which one host serves a bundle to the others.

    Raises: IngotError when the CA's scope does not cover a name.
    """
    return _with_key(ca, names, BUNDLE_LIFETIME, (ExtendedKeyUsageOID.SERVER_AUTH,), now)


def serves_bundle(ca: Authority, certificate_pem: str, names: Sequence[str], now: datetime | None = None) -> bool:
    """Whether a certificate of `of_a_bundle` is for these names, by this CA, and good for half of its time still."""
    try:
        leaf = x509.load_pem_x509_certificate(certificate_pem.encode())
        leaf.verify_directly_issued_by(ca.certificate)
    except (InvalidSignature, ValueError, TypeError):
        return False
    left = leaf.not_valid_after_utc - (now or datetime.now(UTC))
    return certificate_names(leaf) == frozenset(normal(name) for name in names) and left > BUNDLE_LIFETIME / 2


def _with_key(
    ca: Authority,
    names: Sequence[str],
    lifetime: timedelta,
    roles: Sequence[x509.ObjectIdentifier],
    now: datetime | None,
    common_name: str | None = None,
) -> str:
    outside = names_outside(ca.certificate, names)
    if outside:
        raise IngotError(
            f"the CA is limited to {scope_text(ca.certificate)} and cannot sign for {', '.join(outside)}; "
            "rename the host, or make a new CA with a wider gateway_ca_scope."
        )
    key = ec.generate_private_key(ec.SECP256R1())
    begin = (now or datetime.now(UTC)) - CLOCK_SKEW
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name or names[0][:64])]))
        .issuer_name(ca.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(min(begin + CLOCK_SKEW + lifetime, ca.certificate.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage(roles), critical=False)
        .add_extension(x509.SubjectAlternativeName([general_name(name) for name in names]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.key.public_key()), critical=False)
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return builder.sign(ca.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode() + private.decode()


def ending(ca: Authority, now: datetime | None = None) -> str | None:
    """When the CA ends, in a few words, if that is soon; None if not."""
    end = ca.certificate.not_valid_after_utc
    return f"ends {end:%Y-%m-%d}" if end - (now or datetime.now(UTC)) < CA_WARN_BEFORE else None


def why_renew(
    ca: Authority,
    certificate_pem: str,
    request_pem: str,
    names: Sequence[str],
    now: datetime | None = None,
) -> str | None:
    """Why a host's certificate must be replaced, in a few words; None when it is good."""
    moment = now or datetime.now(UTC)
    if not certificate_pem.strip():
        return "no certificate yet"
    if not request_pem.strip():
        return "no key, or one that others could read"
    try:
        leaf = x509.load_pem_x509_certificate(certificate_pem.encode())
        request = x509.load_pem_x509_csr(request_pem.encode())
    except ValueError:
        return "the certificate or its request is unreadable"
    try:
        leaf.verify_directly_issued_by(ca.certificate)
    except (InvalidSignature, ValueError, TypeError):
        return "signed by another CA"
    if leaf.public_key() != request.public_key():
        return "made for another key"
    if certificate_names(leaf) != frozenset(normal(name) for name in names):
        return "the names changed"
    # A certificate does not outlive its CA.
    last = leaf.not_valid_after_utc >= ca.certificate.not_valid_after_utc
    if leaf.not_valid_after_utc - moment < RENEW_BEFORE and not last:
        return f"ends {leaf.not_valid_after_utc:%Y-%m-%d}"
    return None


def _new_authority(scope: Sequence[str]) -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    begin = datetime.now(UTC) - CLOCK_SKEW
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Ingot"),
            # Two CAs of two inventories must not share a name: clients choose an issuer by it.
            x509.NameAttribute(NameOID.COMMON_NAME, f"Ingot internal CA {secrets.token_hex(4)}"),
        ]
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + CA_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(key_cert_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if scope:
        builder = builder.add_extension(
            x509.NameConstraints([constraint(entry) for entry in scope], None), critical=True
        )
    certificate = builder.sign(key, hashes.SHA256())
    return (
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    ).decode()


def _load(ca_file: Path) -> Authority:
    mode = stat.S_IMODE(ca_file.stat().st_mode)
    if mode & 0o077:
        raise IngotError(
            f"{ca_file}: the CA's private key has mode {mode:04o}, expected 0600; "
            "if nobody else can have read it run chmod 600 on it, else replace the CA."
        )
    pem = ca_file.read_bytes()
    try:
        key = serialization.load_pem_private_key(pem, password=None)
        certificate = x509.load_pem_x509_certificate(pem)
    except TypeError:
        raise IngotError(
            f"{ca_file}: the CA's private key is encrypted, and nobody is there to type its password; decrypt it "
            "(openssl pkey -in … -out …), and keep its certificate behind it in the file, with mode 0600."
        ) from None
    except ValueError as error:
        raise IngotError(
            f"{ca_file}: no usable CA in it ({error}); restore it from a backup, or move it away "
            "and a new CA is made, which every caller must then trust."
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or certificate.public_key() != key.public_key():
        raise IngotError(f"{ca_file}: key and certificate do not belong together; restore it from a backup.")
    return Authority(key, certificate)


def _key_usage(*, digital_signature: bool = False, key_cert_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=key_cert_sign,
        encipher_only=False,
        decipher_only=False,
    )
