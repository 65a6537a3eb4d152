"""Keys of teams: shown once, kept as a hash, never lost by two writers."""

from __future__ import annotations

import hashlib
import json
import re
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import pytest
import yaml

from ingot.commands import when
from ingot.errors import IngotError
from ingot.secrets import keys

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


NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def test_a_key_without_an_end_is_written_as_ever(tmp_path: Path) -> None:
    keys.create(tmp_path, "research")
    [entry] = yaml.safe_load((tmp_path / "keys.yaml").read_text())["keys"]
    assert set(entry) == {"team", "sha256", "created"}


def test_a_key_works_until_its_end(tmp_path: Path) -> None:
    keys.create(tmp_path, "research", NOW)
    [key] = keys.read(tmp_path)
    assert key.end == NOW and key.works(NOW - timedelta(seconds=1)) and not key.works(NOW)


def test_rotating_makes_a_key_and_lets_the_others_end(tmp_path: Path) -> None:
    for team, expires in (("research", None), ("research", NOW + timedelta(hours=1)), ("sales", None)):
        keys.create(tmp_path, team, expires)
    new, ending = keys.rotate(tmp_path, "research", timedelta(days=7), NOW)
    assert [key.end for key in keys.read(tmp_path)] == [NOW + timedelta(days=7), NOW + timedelta(hours=1), None, None]
    assert keys.read(tmp_path)[-1].sha256 == keys.fingerprint(new)
    assert ending == keys.read(tmp_path)[:2]


def test_rotating_again_does_not_lengthen_the_life_of_a_key(tmp_path: Path) -> None:
    keys.create(tmp_path, "research")
    keys.rotate(tmp_path, "research", timedelta(days=1), NOW)
    keys.rotate(tmp_path, "research", timedelta(days=7), NOW)
    assert keys.read(tmp_path)[0].end == NOW + timedelta(days=1)


def test_a_team_whose_keys_have_ended_is_given_a_new_one_by_create(tmp_path: Path) -> None:
    keys.create(tmp_path, "research", NOW)
    with pytest.raises(IngotError, match=r"team 'research' has no key that works in .*; keys exist for: research"):
        keys.rotate(tmp_path, "research", timedelta(days=1), NOW)


def test_one_key_of_a_team_is_revoked_by_its_id(tmp_path: Path) -> None:
    first, second = (keys.create(tmp_path, "research") for _ in range(2))
    [removed] = keys.revoke_id(tmp_path, keys.fingerprint(first)[:8])
    assert removed.sha256 == keys.fingerprint(first)
    assert [key.sha256 for key in keys.read(tmp_path)] == [keys.fingerprint(second)]
    with pytest.raises(IngotError, match="no key has the id 'ffffffff'"):
        keys.revoke_id(tmp_path, "ffffffff")


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("90d", NOW + timedelta(days=90)),
        ("12h", NOW + timedelta(hours=12)),
        ("2w", NOW + timedelta(days=14)),
        # The named day is the last.
        ("2027-01-31", datetime(2027, 2, 1, tzinfo=UTC)),
        ("2026-11-23", datetime(2026, 11, 24, tzinfo=UTC)),
    ],
)
def test_an_end_is_a_day_or_a_duration(text: str, end: datetime) -> None:
    assert when.ends("--expires", text, NOW) == end


@pytest.mark.parametrize("text", ["2026-11-22", "soon", "0d", "-3d", "90", "2027-02-30", "d", ""])
def test_what_is_no_end_or_over_is_refused(text: str) -> None:
    with pytest.raises(click.UsageError, match=f"--expires is '{text}', (expected|which is over)"):
        when.ends("--expires", text, NOW)


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
    "content",
    [
        *("keys: 3", "[]", "keys: [{team: a}]", "{", "keys: [{team: a, sha256: x, created: y}]", "keys: [3]"),
        *(f"keys: [{{team: a, sha256: {'a' * 64}, created: y, expires: {end}}}]" for end in ("x", "3", "'2026-11-23'")),
    ],
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
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=180, check=False)


def test_the_command_prints_a_key_on_stdout_and_nothing_else_there(inventory: Path) -> None:
    done = ingot("create", "research", "--inventory", inventory)
    [kept] = keys.read(inventory.parent / "secrets")
    assert keys.fingerprint(done.stdout.removesuffix("\n")) == kept.sha256
    assert "shown once" in done.stderr


def test_a_caller_is_told_where_to_call_and_whom_to_trust(inventory: Path) -> None:
    done = ingot("create", "research", "--inventory", inventory)
    first, second = done.stderr.splitlines()[:2]
    assert first == "base URL  https://a/v1 or https://b/v1"
    assert second == f"CA        {inventory.parent / 'secrets' / 'ca.crt'}"


def test_callers_of_a_fleet_are_told_of_its_gateway(inventory: Path) -> None:
    secrets = str(inventory.parent / "secrets")
    inventory.write_text(
        f"gpu = ['a', 'b']\ngateway = ([('front', {{'gateway_names': ['llm.example']}})], "
        f"{{'gateway_certificate': 'acme'}})\nhosts = (['a', 'b', 'front'], {{'secrets_dir': {secrets!r}}})\n"
    )
    said = json.loads(ingot("create", "research", "--json", "--inventory", inventory).stdout)
    assert (said["base_urls"], said["ca"]) == (["https://llm.example/v1"], None)


def test_a_host_with_a_wrong_value_is_called_by_nobody_and_stops_no_key(inventory: Path) -> None:
    secrets = str(inventory.parent / "secrets")
    inventory.write_text(f"hosts = (['a', ('b', {{'gateway_names': 7}})], {{'secrets_dir': {secrets!r}}})\n")
    said = json.loads(ingot("create", "research", "--json", "--inventory", inventory).stdout)
    assert said["base_urls"] == ["https://a/v1"]


def test_the_list_shows_ids_and_no_hash(inventory: Path) -> None:
    key = keys.create(inventory.parent / "secrets", "research")
    done = ingot("list", "--inventory", inventory)
    assert done.stdout.split()[:2] == ["research", keys.fingerprint(key)[:8]]
    assert keys.fingerprint(key) not in done.stdout


def test_revoking_says_how_it_takes_effect(inventory: Path) -> None:
    keys.create(inventory.parent / "secrets", "research")
    done = ingot("revoke", "research", "--inventory", inventory)
    assert done.stdout == "1 key of research revoked.\n"
    assert f"pyinfra -y {inventory} roles.gateway.gateway" in done.stderr


def test_a_key_may_be_given_an_end(inventory: Path) -> None:
    done = ingot("create", "research", "--expires", "90d", "--inventory", inventory)
    [key] = keys.read(inventory.parent / "secrets")
    assert keys.fingerprint(done.stdout.strip()) == key.sha256
    assert key.end and f"It works until {key.end:%Y-%m-%d %H:%M} UTC" in done.stderr


def test_rotating_prints_the_new_key_and_says_when_the_old_ones_end(inventory: Path) -> None:
    old = keys.create(inventory.parent / "secrets", "research")
    done = ingot("rotate", "research", "--overlap", "2d", "--inventory", inventory)
    ended, new = keys.read(inventory.parent / "secrets")
    assert keys.fingerprint(done.stdout.removesuffix("\n")) == new.sha256
    assert ended.end and f"Key {keys.fingerprint(old)[:8]} works until {ended.end:%Y-%m-%d %H:%M} UTC." in done.stderr


def test_the_list_tells_programs_which_keys_work(inventory: Path) -> None:
    keys.create(inventory.parent / "secrets", "research", NOW - timedelta(days=365))
    keys.create(inventory.parent / "secrets", "sales")
    listed = json.loads(ingot("list", "--json", "--inventory", inventory).stdout)["keys"]
    assert [(row["team"], row["state"], bool(row["expires"])) for row in listed] == [
        ("research", "expired", True),
        ("sales", "active", False),
    ]


def test_revoking_wants_a_team_or_an_id(inventory: Path) -> None:
    assert "name one of them" in ingot("revoke", "--inventory", inventory).stderr
    key = keys.create(inventory.parent / "secrets", "research")
    done = ingot("revoke", "--id", keys.fingerprint(key)[:8], "--inventory", inventory)
    assert done.stdout == "1 key of research revoked.\n"


def test_a_mistake_is_one_sentence_and_status_1(tmp_path: Path) -> None:
    done = ingot("list", "--inventory", tmp_path / "no.py")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"ingot: {tmp_path / 'no.py'}: no such inventory file; name the one given to pyinfra.\n"
