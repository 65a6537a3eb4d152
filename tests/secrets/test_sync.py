"""People of a company's directory have keys: one for each of their teams, as long as they are in it."""

from __future__ import annotations

import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingot.errors import IngotError
from ingot.secrets import keys
from ingot.secrets.directory import Membership, from_csv, from_ldap
from ingot.secrets.keys import Key, Sync
from ingot.settings.secrets import KeysDirectory
from tests.secrets.slapd import ADMIN, BASE, LAB, SALES, Slapd, group, person, slapd

pytestmark = [pytest.mark.gateway, pytest.mark.clients]

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)
LASTS, RENEW = 90 * DAY, 14 * DAY


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    with slapd(tmp_path_factory.mktemp("slapd")) as made:
        made.add(*map(person, ("ann", "bob", "eve")), group(SALES, "ann", "bob"), group(LAB, "bob"))
        yield made


def ldap(directory: Slapd, **changed: object) -> KeysDirectory:
    asked = KeysDirectory(
        uri=directory.uri,
        groups={SALES: "sales", LAB: "lab"},
        bind_dn=ADMIN,
        password_file=str(directory.password_file),
        ca_file=str(directory.ca),
    )
    return asked.model_copy(update=changed)


def memberships(*pairs: str) -> set[Membership]:
    return {Membership(*pair.split("/")) for pair in pairs}


def synced(at: Path, wanted: set[Membership], now: datetime = NOW, *, allow_empty: bool = False) -> Sync:
    return keys.apply_sync(at, wanted, now, RENEW, lasts=LASTS, out=at / "people", allow_empty=allow_empty)


def working(at: Path, now: datetime = NOW) -> set[Membership]:
    return {Membership(key.team, key.person) for key in keys.read(at) if key.person and key.works(now)}


def test_groups_of_a_real_directory_are_teams(directory: Slapd) -> None:
    assert from_ldap(ldap(directory)) == memberships("sales/ann", "sales/bob", "lab/bob")
    mails = from_ldap(ldap(directory, person="mail", groups={LAB: "lab"}))
    assert mails == memberships("lab/bob@corp.example")


def test_who_leaves_the_group_loses_the_key(directory: Slapd, tmp_path: Path) -> None:
    synced(tmp_path, set(from_ldap(ldap(directory))))
    assert working(tmp_path) == memberships("sales/ann", "sales/bob", "lab/bob")
    bob = f"uid=bob,ou=people,{BASE}"
    directory.change(f"dn: {SALES}\nchangetype: modify\ndelete: member\nmember: {bob}")
    try:
        done = synced(tmp_path, set(from_ldap(ldap(directory))))
        assert [(key.team, key.person) for key in done.remove] == [("sales", "bob")] and not done.make
        assert working(tmp_path) == memberships("sales/ann", "lab/bob")
        assert sorted(path.name for path in (tmp_path / "people").iterdir()) == ["lab.bob.key", "sales.ann.key"]
    finally:
        directory.change(f"dn: {SALES}\nchangetype: modify\nadd: member\nmember: {bob}")


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        (lambda made: {"groups": {f"cn=none,{BASE}": "sales"}}, "has no group 'cn=none,dc=corp,dc=example'; correct"),
        (lambda made: {"password_file": made.wrong_password_file}, "(invalidCredentials); correct bind_dn"),
        (lambda made: {"password_file": Path("/none")}, "/none: cannot be read (No such file or directory); correct"),
        (lambda made: {"ca_file": None}, "the directory cannot be asked ("),
        (lambda made: {"uri": "ldaps://localhost:1"}, "ldaps://localhost:1: the directory cannot be asked ("),
        (lambda made: {"groups": {LAB: "Not A Team"}}, "'Not A Team' cannot be a team"),
        (lambda made: {"bind_dn": None, "password_file": None}, "has no group"),
    ],
)
def test_a_directory_that_gives_no_answer_is_one_sentence(
    directory: Slapd, changed: Callable[[Slapd], dict[str, object]], sentence: str
) -> None:
    with pytest.raises(IngotError) as refused:
        from_ldap(ldap(directory, **changed(directory)))
    assert sentence in str(refused.value) and "\n" not in str(refused.value)


def test_keys_are_files_that_only_their_owner_reads(tmp_path: Path) -> None:
    synced(tmp_path, memberships("sales/ann"))
    path = tmp_path / "people" / "sales.ann.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    (key,) = keys.read(tmp_path)
    assert keys.fingerprint(path.read_text().strip()) == key.sha256
    assert (key.team, key.person, key.end) == ("sales", "ann", NOW + LASTS)


def test_a_second_run_changes_nothing(tmp_path: Path) -> None:
    wanted = memberships("sales/ann", "lab/bob")
    synced(tmp_path, wanted)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    again = synced(tmp_path, wanted, NOW + DAY)
    assert not again.changes and again.kept == 2
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_keys_are_renewed_before_they_end_and_old_ones_go_after(tmp_path: Path) -> None:
    wanted = memberships("sales/ann")
    synced(tmp_path, wanted)
    (old,) = keys.read(tmp_path)
    soon = NOW + LASTS - RENEW + DAY
    assert len(synced(tmp_path, wanted, soon).make) == 1
    assert len(keys.read(tmp_path)) == 2 and not synced(tmp_path, wanted, soon).changes
    later = synced(tmp_path, wanted, NOW + LASTS + DAY)
    assert later.remove == (old,) and not later.make
    assert (tmp_path / "people" / "sales.ann.key").exists()


def test_keys_of_teams_are_left_alone(tmp_path: Path) -> None:
    keys.create(tmp_path, "sales")
    synced(tmp_path, memberships("sales/ann"))
    synced(tmp_path, set(), allow_empty=True)
    (left,) = keys.read(tmp_path)
    assert (left.team, left.person) == ("sales", None)


def test_a_team_that_loses_everybody_is_rather_a_directory_that_is_not_well(tmp_path: Path) -> None:
    synced(tmp_path, memberships("sales/ann", "lab/bob"))
    with pytest.raises(IngotError, match="the directory has nobody in team 'lab', expected somebody"):
        synced(tmp_path, memberships("sales/ann"))
    assert working(tmp_path) == memberships("sales/ann", "lab/bob")
    synced(tmp_path, memberships("sales/ann"), allow_empty=True)
    assert working(tmp_path) == memberships("sales/ann")


people = st.frozensets(st.builds(Membership, st.sampled_from(["a", "b"]), st.sampled_from(["x", "y", "z"])))


@given(st.lists(st.tuples(people, st.integers(0, 60)), max_size=6))
def test_after_every_run_people_have_what_the_directory_says(runs: list[tuple[frozenset[Membership], int]]) -> None:
    known: tuple[Key, ...] = ()
    now = NOW
    for wanted, days in runs:
        now += days * DAY
        todo = keys.sync(known, wanted, now, RENEW, allow_empty=True)
        made = tuple(
            Key(one.team, f"{one.person}{now:%j}".ljust(64, "0"), "", (now + LASTS).isoformat(), one.person)
            for one in todo.make
        )
        known = (*(key for key in known if key not in todo.remove), *made)
        assert {Membership(key.team, str(key.person)) for key in known} == set(wanted)
        assert all(key.works(now) for key in known)
        assert not keys.sync(known, wanted, now, RENEW, allow_empty=True).changes


def test_people_come_from_a_file_too(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_text("\ufeffperson,team,note\nann,sales,\nbob@corp.example,lab,x\nann,sales,again\n")
    assert from_csv(path) == memberships("sales/ann", "lab/bob@corp.example")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "its first line is empty, expected the columns person and team"),
        ("name,group\n", "its first line is name,group, expected"),
        ("person,team\nann,Sales\n", "line 2: 'Sales' cannot be a team"),
        ("person,team\n../x,sales\n", "line 2: '../x' cannot name a person"),
        ("person,team\nann\n", "line 2: '' cannot be a team"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "people.csv"
    path.write_text(text)
    with pytest.raises(IngotError) as refused:
        from_csv(path)
    assert sentence in str(refused.value)


def test_the_command_says_what_it_did_and_does_it_once(tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text("person,team\nann,sales\n")
    values = {"secrets_dir": str(tmp_path / "s"), "keys_directory": None}
    (tmp_path / "lab.py").write_text(f"gpu = [('h', {values!r})]\n")

    def ingot(*words: str) -> subprocess.CompletedProcess[str]:
        command = [str(Path(sys.executable).parent / "ingot"), "keys", *words, "--inventory", "lab.py"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)

    dry = ingot("sync", "--csv", "people.csv", "--dry")
    assert dry.returncode == 0 and "1 keys would be made" in dry.stderr and not (tmp_path / "s").exists()
    first = ingot("sync", "--csv", "people.csv")
    assert first.returncode == 0 and first.stdout.split() == ["+", "sales", "ann"], first.stderr
    assert "sk-" not in first.stdout + first.stderr
    again = ingot("sync", "--csv", "people.csv")
    assert (again.returncode, again.stdout) == (0, "") and "0 keys made, 0 removed, 1 kept." in again.stderr
    assert "ann" in ingot("list").stdout
