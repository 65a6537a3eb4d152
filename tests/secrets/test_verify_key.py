"""The key that deploys keep for `ingot verify`."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingot.secrets import keys, verify_key

pytestmark = pytest.mark.onboarding


def test_a_deploy_makes_it_once_and_hosts_know_its_hash(tmp_path: Path) -> None:
    verify_key.provide(tmp_path)
    key = verify_key.read(tmp_path)
    verify_key.provide(tmp_path)
    assert key is not None and verify_key.read(tmp_path) == key
    assert [(one.team, one.sha256) for one in keys.read(tmp_path)] == [(verify_key.TEAM, keys.fingerprint(key))]
    assert (tmp_path / verify_key.FILE).stat().st_mode & 0o777 == 0o600


def test_a_revoked_one_is_of_no_use_and_made_anew_by_the_next_deploy(tmp_path: Path) -> None:
    verify_key.provide(tmp_path)
    before = verify_key.read(tmp_path)
    keys.revoke(tmp_path, verify_key.TEAM)
    assert verify_key.read(tmp_path) is None
    verify_key.provide(tmp_path)
    assert verify_key.read(tmp_path) not in (None, before)


def test_there_is_none_before_the_first_deploy(tmp_path: Path) -> None:
    assert verify_key.read(tmp_path) is None
