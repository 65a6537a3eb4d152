"""A bundle is signed once, and a byte that was changed anywhere in it is found before anything of it is used."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from ingot.bundle.manifest import MANIFEST, SIGNATURE, Manifest, parse, read_signed, text, wrong_objects
from ingot.bundle.store import Store
from ingot.commands.bundle import bundle_group
from ingot.errors import IngotError
from ingot.secrets import bundle_key


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, str]:
    """A bundle of two files, and the public key of who signed it."""
    store = Store(tmp_path / "bundle")
    files = (store.put(b"one", "apt/a", "https://x/a"), store.put(b"two " * 400, "models/b"))
    key = bundle_key.signing_key(tmp_path / "secrets")
    content = text(Manifest(7, "2026", files, {"gpu-01": ("apt/a",)}, {"gpu-01": {"sources": {}}}, {})).encode()
    (tmp_path / "bundle" / MANIFEST).write_bytes(content)
    (tmp_path / "bundle" / SIGNATURE).write_bytes(key.sign(content))
    store.done()
    return tmp_path / "bundle", bundle_key.public_pem(key)


def trouble(bundle: Path, public: str) -> str:
    """What is said of a bundle; empty where all is well."""
    try:
        manifest = read_signed(bundle, public)
    except IngotError as error:
        return str(error)
    return " ".join(f"{one.path} {why}" for one, why in wrong_objects(Store(bundle), manifest.files))


def test_what_was_written_is_read(made: tuple[Path, str]) -> None:
    bundle, public = made
    manifest = read_signed(bundle, public)
    assert trouble(bundle, public) == "" and manifest.serial == 7
    assert [one.path for one in manifest.of_host("gpu-01")] == ["apt/a"]
    with pytest.raises(IngotError, match=r"^gpu-02: this bundle was made for gpu-01; "):
        manifest.of_host("gpu-02")


def test_a_flipped_byte_is_found_in_every_file_of_it(made: tuple[Path, str]) -> None:
    bundle, public = made
    files = [path for path in bundle.rglob("*") if path.is_file()]
    assert len(files) == 4
    for file in files:
        before = file.read_bytes()
        for at in {0, len(before) // 2, len(before) - 1}:
            file.write_bytes(before[:at] + bytes([before[at] ^ 1]) + before[at + 1 :])
            assert trouble(bundle, public), (file, at)
        file.write_bytes(before)
    assert trouble(bundle, public) == ""


def test_a_file_that_is_missing_or_cut_off_is_found(made: tuple[Path, str]) -> None:
    bundle, public = made
    object_ = next(path for path in bundle.rglob("*") if path.is_file() and path.stat().st_size == 1600)
    object_.write_bytes(object_.read_bytes()[:-1])
    assert "models/b has 1599 bytes, expected 1600" in trouble(bundle, public)
    object_.unlink()
    assert "models/b is not there" in trouble(bundle, public)


def test_another_key_is_not_believed_and_openssl_agrees(made: tuple[Path, str], tmp_path: Path) -> None:
    bundle, public = made
    other = bundle_key.public_pem(bundle_key.signing_key(tmp_path / "other"))
    assert "its signature is not by the key with fingerprint" in trouble(bundle, other)
    for pem, status in ((public, 0), (other, 1)):
        (tmp_path / "key.pub").write_text(pem)
        words = ["-pubin", "-inkey", str(tmp_path / "key.pub"), "-rawin", "-in", str(bundle / MANIFEST)]
        done = subprocess.run(
            ["openssl", "pkeyutl", "-verify", *words, "-sigfile", str(bundle / SIGNATURE)],
            capture_output=True,
            check=False,
        )
        assert done.returncode == status, done.stderr


def test_the_key_is_made_once_and_is_private(tmp_path: Path) -> None:
    key = tmp_path / "secrets" / bundle_key.KEY_FILE
    public = bundle_key.public_pem(bundle_key.signing_key(tmp_path / "secrets"))
    assert bundle_key.public_pem(bundle_key.signing_key(tmp_path / "secrets")) == public
    assert key.stat().st_mode & 0o777 == 0o600
    key.chmod(0o644)
    with pytest.raises(IngotError, match="others may read this key"):
        bundle_key.signing_key(tmp_path / "secrets")


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "a//b", "a\nb", ""])
def test_a_path_that_would_leave_the_bundle_is_no_manifest(path: str) -> None:
    from ingot.bundle.store import Entry

    content = text(Manifest(1, "2026", (Entry(path, "0" * 64, 1),))).encode()
    with pytest.raises(IngotError, match="is no manifest of a bundle"):
        parse(content, "manifest.json")


def test_a_later_bundle_alone_is_told_in_few_words(tmp_path: Path) -> None:
    store = Store(tmp_path / "bundle")
    files = tuple(store.put(b"%d" % number, f"apt/{number}") for number in range(20))
    key = bundle_key.signing_key(tmp_path / "secrets")
    content = text(Manifest(7, "2026", files)).encode()
    (tmp_path / "bundle" / MANIFEST).write_bytes(content)
    (tmp_path / "bundle" / SIGNATURE).write_bytes(key.sign(content))
    (tmp_path / "bundle.pub").write_text(bundle_key.public_pem(key))
    words = ["verify", str(tmp_path / "bundle"), "--key", str(tmp_path / "bundle.pub")]
    assert CliRunner().invoke(bundle_group, words).exit_code == 0
    for one in files:
        store.object(one.sha256).unlink()
    said = CliRunner().invoke(bundle_group, words)
    assert said.exit_code == 1 and said.output.count("is not there; copy it again.") == 8
    assert "12 more files are missing or wrong" in said.output and "--since" in said.output
