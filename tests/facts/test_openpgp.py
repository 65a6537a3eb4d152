"""Fingerprints of keyrings, compared with gpg's."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingot.facts.openpgp import fingerprints
from ingot.facts.packages import parse_keyrings

pytestmark = pytest.mark.driver


def gpg(home: Path, *words: str) -> bytes:
    command = ["gpg", "--homedir", str(home), "--batch", "--quiet", "--passphrase", "", "--pinentry-mode", "loopback"]
    return subprocess.run([*command, *words], check=True, capture_output=True, timeout=180).stdout


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home of gpg with two keys of different kinds, one with a subkey."""
    home = tmp_path_factory.mktemp("gpg")
    home.chmod(0o700)
    gpg(home, "--quick-generate-key", "One <one@localhost>", "rsa2048", "default", "never")
    gpg(home, "--quick-generate-key", "Two <two@localhost>", "ed25519", "sign", "never")
    yield home
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=False, timeout=180)


@pytest.mark.parametrize("armor", [("--armor",), ()], ids=["armored", "binary"])
def test_fingerprints_are_those_that_gpg_says(home: Path, tmp_path: Path, armor: tuple[str, ...]) -> None:
    ring = gpg(home, *armor, "--export")
    (tmp_path / "ring").write_bytes(ring)
    listing = gpg(home, "--with-colons", "--show-keys", str(tmp_path / "ring")).decode()
    (known,) = parse_keyrings(f"keyring x\n{listing}").values()
    assert len(known) == 2
    assert fingerprints(ring) == known
    assert fingerprints(ring.replace(b"\n", b"\r\n")) == known or not armor


def test_several_blocks_in_one_file_are_all_read(home: Path) -> None:
    one, two = (gpg(home, "--armor", "--export", name) for name in ("one@localhost", "two@localhost"))
    assert fingerprints(b"Comment\n" + one + b"\n" + two) == (*fingerprints(one), *fingerprints(two))


def test_what_cannot_be_read_to_its_end_has_no_keys(home: Path) -> None:
    ring = gpg(home, "--export")
    for broken in (ring[:-1], ring + b"x", b"", b"\x80", b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n!\n", bytes(1000)):
        assert fingerprints(broken) == ()
