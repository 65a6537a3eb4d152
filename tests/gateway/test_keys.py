"""Keys of teams: shown once, kept as a hash, never lost by two writers."""

from __future__ import annotations

import hashlib
import re
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ingot import keys
from ingot.errors import IngotError

pytestmark = pytest.mark.gateway


def test_a_key_names_its_team_and_carries_256_bits(tmp_path: Path) -> None:
    assert re.fullmatch(r"sk-research-[A-Za-z0-9_-]{43}", keys.create(tmp_path, "research"))


def test_only_the_hash_of_a_key_is_kept(tmp_path: Path) -> None:
    key = keys.create(tmp_path, "research")
    stored = (tmp_path / "keys.yaml").read_text()
    assert key not in stored and key.removeprefix("sk-research-") not in stored
    assert [entry.sha256 for entry in keys.read(tmp_path)] == [hashlib.sha256(key.encode()).hexdigest()]
    assert stat.S_IMODE((tmp_path / "keys.yaml").stat().st_mode) == 0o600


def test_a_team_may_have_two_keys_while_it_rotates(tmp_path: Path) -> None:
    made = [keys.create(tmp_path, "research") for _ in range(2)]
    assert [entry.sha256 for entry in keys.read(tmp_path)] == [keys.fingerprint(key) for key in made]


def test_revoking_removes_every_key_of_that_team_alone(tmp_path: Path) -> None:
    for team in ("research", "sales", "research"):
        keys.create(tmp_path, team)
    assert len(keys.revoke(tmp_path, "research")) == 2
    assert [entry.team for entry in keys.read(tmp_path)] == ["sales"]


def test_revoking_an_unknown_team_says_which_teams_there_are(tmp_path: Path) -> None:
    keys.create(tmp_path, "sales")
    with pytest.raises(IngotError, match=r"team 'research' has no key in .*; keys exist for: sales\."):
        keys.revoke(tmp_path, "research")


@pytest.mark.parametrize("team", ["", "Research", "a b", "-a", "a-", "a;b", "a" * 33, 'x"y', "a\n"])
def test_a_team_that_could_break_a_log_or_a_map_is_refused(tmp_path: Path, team: str) -> None:
    with pytest.raises(IngotError, match="choose such a name"):
        keys.create(tmp_path, team)
    assert keys.read(tmp_path) == ()


def test_two_writers_lose_no_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(lambda number: keys.create(tmp_path, f"team-{number}"), range(32)))
    assert {entry.sha256 for entry in keys.read(tmp_path)} == {keys.fingerprint(key) for key in made}


@pytest.mark.parametrize(
    "content", ["keys: 3", "[]", "keys: [{team: a}]", "{", "keys: [{team: a, sha256: x, created: y}]"]
)
def test_a_damaged_file_is_refused_and_left_alone(tmp_path: Path, content: str) -> None:
    (tmp_path / "keys.yaml").write_text(content)
    with pytest.raises(IngotError, match="restore it from a backup"):
        keys.create(tmp_path, "research")
    assert (tmp_path / "keys.yaml").read_text() == content


def test_secrets_of_an_inventory_live_in_its_own_directory() -> None:
    assert keys.secrets_dir(None, "prod") == Path.home() / ".config/ingot/prod"
    assert keys.secrets_dir("/srv/vault", "prod") == Path("/srv/vault")


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    (tmp_path / "lab.py").write_text(f"hosts = (['a', 'b'], {{'secrets_dir': {str(tmp_path / 'secrets')!r}}})\n")
    return tmp_path / "lab.py"


def ingot(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run `ingot keys` as a user does; in a process of its own, because pyinfra patches the standard library."""
    command = [Path(sys.executable).parent / "ingot", "keys", *arguments]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60, check=False)


def test_the_command_prints_a_key_on_stdout_and_nothing_else_there(inventory: Path) -> None:
    done = ingot("create", "research", "--inventory", inventory)
    [kept] = keys.read(inventory.parent / "secrets")
    assert keys.fingerprint(done.stdout.removesuffix("\n")) == kept.sha256
    assert "shown once" in done.stderr


def test_the_list_shows_ids_and_no_hash(inventory: Path) -> None:
    key = keys.create(inventory.parent / "secrets", "research")
    done = ingot("list", "--inventory", inventory)
    assert done.stdout.split()[:2] == ["research", keys.fingerprint(key)[:8]]
    assert keys.fingerprint(key) not in done.stdout


def test_revoking_says_how_it_takes_effect(inventory: Path) -> None:
    keys.create(inventory.parent / "secrets", "research")
    done = ingot("revoke", "research", "--inventory", inventory)
    assert done.stdout == "1 key of research revoked.\n"
    assert f"pyinfra {inventory} deploy.py" in done.stderr


def test_a_mistake_is_one_sentence_and_status_1(tmp_path: Path) -> None:
    done = ingot("list", "--inventory", tmp_path / "no.py")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"ingot: {tmp_path / 'no.py'}: no such inventory file; name the one given to pyinfra.\n"
