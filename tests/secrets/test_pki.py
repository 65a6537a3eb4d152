"""The internal CA: what it signs, when it signs again, and that it is made once."""

from __future__ import annotations

import ipaddress
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from ingot.errors import IngotError
from ingot.secrets import pki

pytestmark = pytest.mark.gateway

NAMES = ("gpu-01", "10.0.0.11", "llm.corp.example")


def request_of(key: ec.EllipticCurvePrivateKey) -> str:
    request = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "anything")])
    )
    return request.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


@pytest.fixture
def request_pem() -> str:
    return request_of(ec.generate_private_key(ec.SECP256R1()))


def verify(ca: pki.Authority, leaf_pem: str, name: str) -> None:
    """An independent check: the web profile of cryptography's own path validation (RFC 5280 and CA/B rules)."""
    subject = x509.IPAddress(ipaddress.ip_address(name)) if name[0].isdigit() else x509.DNSName(name)
    verifier = PolicyBuilder().store(Store([ca.certificate])).build_server_verifier(subject)
    verifier.verify(x509.load_pem_x509_certificate(leaf_pem.encode()), [])


@pytest.mark.parametrize("name", NAMES)
def test_a_leaf_is_verified_for_each_of_its_names(tmp_path: Path, request_pem: str, name: str) -> None:
    ca = pki.authority(tmp_path)
    verify(ca, pki.sign(ca, request_pem, NAMES), name)


def test_a_leaf_is_refused_for_another_name(tmp_path: Path, request_pem: str) -> None:
    ca = pki.authority(tmp_path)
    with pytest.raises(VerificationError):
        verify(ca, pki.sign(ca, request_pem, NAMES), "gpu-02")


def test_a_leaf_is_refused_under_another_ca(tmp_path: Path, request_pem: str) -> None:
    ours, theirs = pki.authority(tmp_path / "a"), pki.authority(tmp_path / "b")
    with pytest.raises(VerificationError):
        verify(theirs, pki.sign(ours, request_pem, NAMES), "gpu-01")


def test_a_leaf_lives_47_days_and_began_an_hour_ago(tmp_path: Path, request_pem: str) -> None:
    now = datetime(2026, 11, 22, 12, tzinfo=UTC)
    leaf = x509.load_pem_x509_certificate(pki.sign(pki.authority(tmp_path), request_pem, NAMES, now=now).encode())
    assert leaf.not_valid_before_utc == now - timedelta(hours=1)
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc == timedelta(days=47)


def test_the_ca_signs_leaves_only(tmp_path: Path) -> None:
    constraints = pki.authority(tmp_path).certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert (constraints.value.ca, constraints.value.path_length) == (True, 0)


def test_only_the_owner_reads_the_ca_and_everyone_its_certificate(tmp_path: Path) -> None:
    secrets = tmp_path / "deep" / "prod"
    pki.authority(secrets)
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    assert stat.S_IMODE((secrets / "ca.pem").stat().st_mode) == 0o600
    assert "PRIVATE" not in (secrets / "ca.crt").read_text()


def test_many_callers_at_once_get_one_ca(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(lambda _: pki.authority(tmp_path).certificate_pem, range(64)))
    assert len(set(made)) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ca.crt", "ca.pem"]


def test_a_lost_public_certificate_comes_back(tmp_path: Path) -> None:
    before = pki.authority(tmp_path).certificate_pem
    (tmp_path / "ca.crt").write_text("half a certif")
    pki.authority(tmp_path)
    assert (tmp_path / "ca.crt").read_text() == before


def test_a_ca_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    pki.authority(tmp_path)
    (tmp_path / "ca.pem").chmod(0o640)
    with pytest.raises(IngotError, match="mode 0640, expected 0600"):
        pki.authority(tmp_path)


def test_a_damaged_ca_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch(0o600)
    with pytest.raises(IngotError, match=r"no usable CA in it.*restore it from a backup"):
        pki.authority(tmp_path)


def test_a_request_that_is_not_signed_by_its_key_is_refused(tmp_path: Path) -> None:
    requests = [request_of(ec.generate_private_key(ec.SECP256R1())) for _ in range(2)]
    first, second = (x509.load_pem_x509_csr(pem.encode()) for pem in requests)
    # The first request's signature over the second's content.
    der = second.public_bytes(serialization.Encoding.DER)
    forged = der[: -len(second.signature)] + first.signature[: len(second.signature)].ljust(
        len(second.signature), b"\0"
    )
    try:
        pem = x509.load_der_x509_csr(forged).public_bytes(serialization.Encoding.PEM).decode()
    except ValueError:
        pem = "not a request"
    with pytest.raises(IngotError, match="certificate request"):
        pki.sign(pki.authority(tmp_path), pem, NAMES)


@pytest.mark.parametrize(
    ("days_later", "names", "reason"),
    [
        (0, NAMES, None),
        (16, NAMES, None),
        (17, NAMES, "ends 2027-01-08"),
        (99, NAMES, "ends 2027-01-08"),
        (0, ("gpu-01", "10.0.0.11"), "the names changed"),
        (0, (*NAMES, "10.0.0.12"), "the names changed"),
        (0, tuple(reversed(NAMES)), None),
    ],
)
def test_a_certificate_is_renewed_in_its_last_30_days_or_for_other_names(
    tmp_path: Path, request_pem: str, days_later: int, names: tuple[str, ...], reason: str | None
) -> None:
    ca, now = pki.authority(tmp_path), datetime(2026, 11, 22, 12, tzinfo=UTC)
    leaf = pki.sign(ca, request_pem, NAMES, now=now)
    assert pki.why_renew(ca, leaf, request_pem, names, now=now + timedelta(days=days_later)) == reason


def test_a_certificate_is_renewed_when_key_or_ca_changed(tmp_path: Path, request_pem: str) -> None:
    ca = pki.authority(tmp_path / "a")
    leaf = pki.sign(ca, request_pem, NAMES)
    other_key = request_of(ec.generate_private_key(ec.SECP256R1()))
    assert pki.why_renew(ca, leaf, other_key, NAMES) == "made for another key"
    assert pki.why_renew(pki.authority(tmp_path / "b"), leaf, request_pem, NAMES) == "signed by another CA"
    assert pki.why_renew(ca, "", "", NAMES) == "no certificate yet"
    assert pki.why_renew(ca, leaf, "", NAMES) == "no key, or one that others could read"
    assert pki.why_renew(ca, leaf, "damaged", NAMES) == "the certificate or its request is unreadable"


def test_a_ca_near_its_end_is_told_and_signs_nothing_that_outlives_it(tmp_path: Path, request_pem: str) -> None:
    ca = pki.authority(tmp_path)
    end = ca.certificate.not_valid_after_utc
    assert pki.ending(ca, end - timedelta(days=181)) is None
    assert pki.ending(ca, end - timedelta(days=179)) == f"ends {end:%Y-%m-%d}"
    late = end - timedelta(days=5)
    last = pki.sign(ca, request_pem, NAMES, now=late)
    assert x509.load_pem_x509_certificate(last.encode()).not_valid_after_utc == end
    assert pki.why_renew(ca, last, request_pem, NAMES, now=late) is None
    with pytest.raises(
        IngotError, match=r"the CA ended .*; move ca\.pem away, deploy, and give callers the new ca\.crt"
    ):
        pki.sign(ca, request_pem, NAMES, now=end + timedelta(minutes=1))


def test_a_scoped_ca_signs_inside_its_scope_only(tmp_path: Path, request_pem: str) -> None:
    ca = pki.authority(tmp_path, scope=("10.0.0.0/8", "corp.example"))
    inside = ("llm.corp.example", "10.0.0.11")
    verify(ca, pki.sign(ca, request_pem, inside), "llm.corp.example")
    with pytest.raises(IngotError, match=r"limited to 10\.0\.0\.0/8, corp\.example.*sign for gpu-01, 192\.0\.2\.1"):
        pki.sign(ca, request_pem, ("gpu-01", "192.0.2.1"))


@pytest.mark.parametrize("entry", ["10.0.0.1/8", "10.0.0.0/33", "corp example", "größe.example", "*.corp.example", ""])
def test_a_scope_that_is_neither_network_nor_zone_makes_no_ca(tmp_path: Path, entry: str) -> None:
    with pytest.raises(IngotError, match="expected a network such as"):
        pki.authority(tmp_path, ["10.0.0.0/8", entry])
    assert not (tmp_path / pki.CA_FILE).exists()


def test_an_encrypted_ca_is_one_sentence_and_what_is_not_there_is_not_made(tmp_path: Path) -> None:
    assert pki.existing(tmp_path) is None and not (tmp_path / "ca.pem").exists()
    made = pki.authority(tmp_path)
    found = pki.existing(tmp_path)
    assert found and found.certificate_pem == made.certificate_pem
    locked = made.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"word")
    )
    (tmp_path / "ca.pem").write_bytes(locked + made.certificate_pem.encode())
    with pytest.raises(IngotError, match=r"ca\.pem: the CA's private key is encrypted"):
        pki.existing(tmp_path)
