"""A pair of files is judged on the control machine: what nginx or callers would not accept never reaches a host."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from ingot.errors import IngotError
from ingot.secrets import certificate_pair
from ingot.secrets.certificate_names import covers
from tests.gateway import issuing
from tests.gateway.issuing import DAY, NOW, Issued

pytestmark = pytest.mark.gateway

ROOT = issuing.root()
BETWEEN = issuing.intermediate(ROOT)
NAMES = ("llm.example.org",)
Write = Callable[[Path], tuple[Path, Path]]


def judged(files: tuple[Path, Path], *names: str) -> certificate_pair.Pair:
    return certificate_pair.read(*files, names or NAMES, NOW)


@pytest.mark.parametrize(
    "key",
    [None, ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)],
    ids=["default", "P-384", "RSA"],
)
def test_a_good_pair_becomes_one_text_with_key_and_chain_in_order(tmp_path: Path, key: issuing.Key | None) -> None:
    good = issuing.leaf(BETWEEN, *NAMES, key=key)
    pair = judged(good.write(tmp_path))
    assert pair.chain == (good.certificate, BETWEEN.certificate)
    assert pair.pem.encode() == issuing.key_pem(good.key) + issuing.pem(good.certificate) + issuing.pem(
        BETWEEN.certificate
    )
    assert "PRIVATE" not in repr(pair) and pair.ending(NOW) is None


def test_a_root_at_the_end_of_the_file_is_accepted(tmp_path: Path) -> None:
    good = issuing.leaf(BETWEEN, *NAMES)
    chain = (good.certificate, BETWEEN.certificate, ROOT.certificate)
    assert judged(good.write(tmp_path, chain)).chain == chain


@pytest.mark.parametrize(
    ("own", "name", "covered"),
    [
        ("llm.example.org", "llm.example.org", True),
        ("LLM.example.org", "llm.EXAMPLE.org", True),
        ("*.example.org", "llm.example.org", True),
        ("*.example.org", "a.llm.example.org", False),
        ("*.example.org", "example.org", False),
        ("example.org", "llm.example.org", False),
    ],
)
def test_names_are_covered_as_callers_compare_them(tmp_path: Path, own: str, name: str, covered: bool) -> None:
    assert covers(issuing.leaf(BETWEEN, own).certificate, name) == covered


def of(**given: object) -> Write:
    return lambda directory: issuing.leaf(BETWEEN, *NAMES, **given).write(directory)  # type: ignore[arg-type]


def with_chain(*order: int) -> Write:
    def write(directory: Path) -> tuple[Path, Path]:
        good = issuing.leaf(BETWEEN, *NAMES)
        return good.write(directory, [(good.certificate, BETWEEN.certificate, ROOT.certificate)[one] for one in order])

    return write


def with_other_key(directory: Path) -> tuple[Path, Path]:
    one = issuing.leaf(BETWEEN, *NAMES)
    return Issued(ec.generate_private_key(ec.SECP256R1()), one.certificate).write(directory)


def with_key_file(content: bytes, mode: int = 0o600) -> Write:
    def write(directory: Path) -> tuple[Path, Path]:
        files = issuing.leaf(BETWEEN, *NAMES).write(directory)
        files[1].write_bytes(content)
        files[1].chmod(mode)
        return files

    return write


def without_certificate(directory: Path) -> tuple[Path, Path]:
    files = issuing.leaf(BETWEEN, *NAMES).write(directory)
    files[0].write_text("not PEM")
    return files


WEAK_RSA, CURVE_521 = rsa.generate_private_key(65537, 1024), ec.generate_private_key(ec.SECP521R1())
WRONG: dict[str, tuple[Write, str]] = {
    "another key": (with_other_key, "certificate and key do not belong together"),
    "issuer first": (with_chain(1, 0), "the certificate of this key is number 2 in the file, expected it first"),
    "issuers in disorder": (with_chain(0, 2, 1), "CN=Leaf is not issued by CN=Root, which follows it"),
    "ended": (of(end=NOW - timedelta(hours=1)), "CN=Leaf ended 20"),
    "to come": (of(begin=NOW + DAY), "CN=Leaf begins 20"),
    "other names": (
        lambda where: issuing.leaf(BETWEEN, "other.example.org").write(where),
        "not good for llm.example.org",
    ),
    "no names": (lambda where: issuing.leaf(BETWEEN).write(where), "only for no name at all"),
    "for clients": (of(usage=ExtendedKeyUsageOID.CLIENT_AUTH), "CN=Leaf is not for servers"),
    "weak hash": (of(algorithm=hashes.SHA224()), "CN=Leaf is signed with sha224, expected SHA-256 or better"),
    "short RSA": (of(key=WEAK_RSA), "the key is RSA of 1024 bits, expected ECDSA on P-256 or P-384, or RSA of 2048"),
    "odd curve": (of(key=CURVE_521), "the key is ECDSA on secp521r1, expected"),
    "Ed25519": (of(key=ed25519.Ed25519PrivateKey.generate()), "the key is Ed25519PrivateKey, expected"),
    "password": (
        with_key_file(issuing.key_pem(ec.generate_private_key(ec.SECP256R1()), b"secret")),
        "the private key is encrypted, and nginx starts without anybody there to type its password; decrypt it",
    ),
    "no key": (with_key_file(b"nothing"), "no private key in it"),
    "open to others": (with_key_file(issuing.key_pem(WEAK_RSA), 0o640), "the private key has mode 0640, expected 0600"),
    "no certificate": (without_certificate, "no certificate in it"),
    "missing": (
        lambda where: (where / "none", where / "none"),
        "No such file or directory; correct gateway_certificate",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_cannot_serve_is_one_sentence_that_names_the_file(tmp_path: Path, what: str) -> None:
    write, sentence = WRONG[what]
    with pytest.raises(IngotError, match=re.escape(sentence)) as raised:
        judged(write(tmp_path))
    assert str(raised.value).startswith(str(tmp_path)) and "PRIVATE" not in str(raised.value)


@pytest.mark.parametrize(
    ("life_days", "left_days", "soon"),
    [(90, 31, False), (90, 29, True), (365, 31, False), (45, 16, False), (45, 14, True), (6, 3, False), (6, 1, True)],
)
def test_a_warning_comes_a_month_before_the_end_or_in_the_last_third(
    tmp_path: Path, life_days: int, left_days: int, soon: bool
) -> None:
    end = NOW + left_days * DAY
    pair = judged(issuing.leaf(BETWEEN, *NAMES, begin=end - life_days * DAY, end=end).write(tmp_path))
    assert pair.ending(NOW) == (f"ends {end:%Y-%m-%d}" if soon else None)
