"""What the demo does around its host: a key that lasts, and one sentence when nothing answers."""

import stat
from pathlib import Path

import pytest

from ingot.errors import IngotError
from ingot.sandbox import demo
from ingot.secrets import keys


def test_a_second_demo_asks_with_the_key_of_the_first(tmp_path: Path) -> None:
    header = tmp_path / "demo.header"
    for _ in range(2):
        demo.ensure_key(tmp_path, header)
    (kept,) = keys.read(tmp_path)
    assert keys.fingerprint(header.read_text().strip().removeprefix("Authorization: Bearer ")) == kept.sha256
    assert stat.S_IMODE(header.stat().st_mode) == 0o600


def test_the_demo_deploys_from_the_checkout() -> None:
    assert (demo.CHECKOUT / "deploy.py").is_file() and (demo.CHECKOUT / "inventories" / "sandbox.py").is_file()


def test_a_revoked_key_of_the_demo_is_made_anew(tmp_path: Path) -> None:
    header = tmp_path / "demo.header"
    demo.ensure_key(tmp_path, header)
    revoked = header.read_text()
    keys.revoke(tmp_path, demo.TEAM)
    demo.ensure_key(tmp_path, header)
    assert header.read_text() != revoked


def test_a_service_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("no certificate")
    endpoint = demo.Endpoint("127.0.0.1", "demo", tmp_path / "ca.crt", tmp_path / "demo.header", "tiny")
    with pytest.raises(IngotError, match=r"^demo: no answer from 127\.0\.0\.1 port 443 \(SSLError: .*opens the host"):
        list(endpoint.ask(stream=True))
