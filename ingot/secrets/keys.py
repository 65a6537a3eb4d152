"""API keys of teams: a key is shown once, only its SHA-256 is kept."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import yaml

from ingot.errors import IngotError
from ingot.gateway.teams import NAME
from ingot.secrets import files
from ingot.secrets.directory import Membership

KEYS_FILE = "keys.yaml"
#: Hosts keep a key's hash for this long after its end, so that their logs show who still uses it.
REMEMBERED = timedelta(days=30)
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Key:
    """One API key, without the key itself; `created` and `expires` are moments in ISO 8601, UTC.

    `person` is whose it is, where a directory of people says so; a key without one is its team's.
    """

    team: str
    sha256: str
    created: str
    expires: str | None = None
    person: str | None = None

    @property
    def id(self) -> str:
        """What logs and lists call this key: the first eight hexadecimal digits of its hash."""
        return self.sha256[:8]

    @property
    def end(self) -> datetime | None:
        """When the key stops working; None: never."""
        return datetime.fromisoformat(self.expires) if self.expires else None

    def works(self, now: datetime) -> bool:
        """Whether the key is accepted at this moment."""
        return self.end is None or now < self.end


def secrets_dir(configured: str | None, inventory: str) -> Path:
    """Where the secrets of an inventory live: what is configured, else `~/.config/ingot/<inventory>`."""
    return Path(configured).expanduser() if configured else Path.home() / ".config" / "ingot" / inventory


def read(directory: Path) -> tuple[Key, ...]:
    """Every key that was not revoked, oldest first; none when no key was ever made.

    Raises: IngotError when the file is damaged.
    """
    path = directory / KEYS_FILE
    if not path.exists():
        return ()
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        found = tuple(
            Key(entry["team"], entry["sha256"], entry["created"], entry.get("expires"), entry.get("person"))
            for entry in content["keys"]
        )
        wrong = [key for key in found if not NAME.fullmatch(key.team) or not _SHA256.fullmatch(key.sha256)]
        wrong += [key for key in found if key.end and key.end.tzinfo is None]
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise IngotError(f"{path}: not a list of keys ({type(error).__name__}); restore it from a backup.") from error
    if wrong:
        raise IngotError(f"{path}: the entry of team {wrong[0].team!r} is damaged; restore it from a backup.")
    return found


def create(directory: Path, team: str, expires: datetime | None = None) -> str:
    """Make a key for a team and return it. Only its hash is kept: the key cannot be shown again.

    Raises: IngotError when the team's name cannot be used.
    """
    if not NAME.fullmatch(team):
        raise IngotError(
            f"team {team!r}: expected 1 to 32 characters out of a-z, 0-9 and '-', "
            "not starting or ending with '-'; choose such a name."
        )
    key, entry = _new(team, expires)
    with _locked(directory):
        _write(directory, (*read(directory), entry))
    return key


def rotate(directory: Path, team: str, overlap: timedelta, now: datetime) -> tuple[str, tuple[Key, ...]]:
    """Make a new key for a team and end its other keys after `overlap`; return the new key and those that end.

    A key that ends earlier keeps its end.
    Raises: IngotError when the team has no key that works.
    """
    end = now + overlap
    with _locked(directory):
        known = read(directory)
        ending = {key for key in known if key.team == team and key.works(now)}
        if not ending:
            raise _unknown(directory, f"team {team!r} has no key that works", known)
        key, entry = _new(team, None)
        later = [replace(one, expires=_iso(min(end, one.end or end))) if one in ending else one for one in known]
        _write(directory, (*later, entry))
    return key, tuple(one for one, before in zip(later, known, strict=True) if before in ending)


def revoke(directory: Path, team: str) -> tuple[Key, ...]:
    """Remove every key of a team and return what was removed.

    Raises: IngotError when the team has no key.
    """
    return _remove(directory, f"team {team!r} has no key", lambda key: key.team == team)


def revoke_id(directory: Path, key_id: str) -> tuple[Key, ...]:
    """Remove the key with this id and return what was removed.

    Raises: IngotError when there is none.
    """
    return _remove(directory, f"no key has the id {key_id!r}", lambda key: key.id == key_id)


@dataclass(frozen=True)
class Sync:
    """What brings the keys of people to what a directory says: keys to make, keys to remove, and how many stay.

    A person's key that ends soon is renewed: the new one is good beside the old one until that ends.
    """

    make: tuple[Membership, ...]
    remove: tuple[Key, ...]
    kept: int

    @property
    def changes(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.make or self.remove)


def sync(
    known: Sequence[Key],
    wanted: Collection[Membership],
    now: datetime,
    renew: timedelta,
    *,
    allow_empty: bool = False,
) -> Sync:
    """What differs between the keys of people and their memberships; keys without a person are left alone. Pure.

    Raises: IngotError where a team would lose all of its people, which is rather a directory that is not well.
    """
    lost = sorted({key.team for key in known if key.person and key.works(now)} - {one.team for one in wanted})
    if lost and not allow_empty:
        raise IngotError(
            f"the directory has nobody in team {lost[0]!r}, expected somebody: its people have keys; mend the "
            "directory, or pass --allow-empty to take these keys away."
        )
    lasting_of = {
        Membership(key.team, key.person) for key in known if key.person and (key.end is None or key.end > now + renew)
    }
    remove = tuple(
        key for key in known if key.person and (Membership(key.team, key.person) not in wanted or not key.works(now))
    )
    make = tuple(sorted(one for one in wanted if one not in lasting_of))
    return Sync(make, remove, len(set(wanted) & lasting_of))


def apply_sync(
    directory: Path,
    wanted: Collection[Membership],
    now: datetime,
    renew: timedelta,
    *,
    lasts: timedelta,
    out: Path,
    allow_empty: bool = False,
) -> Sync:
    """Do what `sync` says, with no other change in between; new keys are good for `lasts`, and files below `out`.

    A file is there before its key counts, so that whoever is killed in between loses no key that works.
    Raises: OSError; IngotError as `sync` does, and when the keys' file is damaged.
    """
    with _locked(directory):
        known = read(directory)
        todo = sync(known, wanted, now, renew, allow_empty=allow_empty)
        if not todo.changes:
            return todo
        files.private_directory(out)
        entries = []
        for one in todo.make:
            key, entry = _new(one.team, now + lasts, one.person)
            files.replace(out / f"{one.team}.{one.person}.key", f"{key}\n", mode=0o600)
            entries.append(entry)
        left = (*(key for key in known if key not in todo.remove), *entries)
        _write(directory, left)
        still = {(key.team, key.person) for key in left}
        for gone in todo.remove:
            if (gone.team, gone.person) not in still:
                (out / f"{gone.team}.{gone.person}.key").unlink(missing_ok=True)
    return todo


def lasting(keys: Sequence[Key], now: datetime) -> tuple[Key, ...]:
    """The keys that hosts know: all but those that ended more than REMEMBERED ago."""
    return tuple(key for key in keys if key.works(now - REMEMBERED))


def fingerprint(key: str) -> str:
    """SHA-256 of a key in hexadecimal; enough for a secret of 256 random bits, no salt or stretching needed."""
    return hashlib.sha256(key.encode()).hexdigest()


def _new(team: str, expires: datetime | None, person: str | None = None) -> tuple[str, Key]:
    key = f"sk-{team}-{secrets.token_urlsafe(32)}"
    return key, Key(team, fingerprint(key), _iso(datetime.now(UTC)), _iso(expires) if expires else None, person)


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")


def _remove(directory: Path, none: str, of: Callable[[Key], bool]) -> tuple[Key, ...]:
    with _locked(directory):
        known = read(directory)
        removed = tuple(key for key in known if of(key))
        if not removed:
            raise _unknown(directory, none, known)
        _write(directory, tuple(key for key in known if key not in removed))
    return removed


def _unknown(directory: Path, what: str, known: Sequence[Key]) -> IngotError:
    teams = ", ".join(sorted({key.team for key in known})) or "no team"
    return IngotError(f"{what} in {directory / KEYS_FILE}; keys exist for: {teams}.")


def _write(directory: Path, keys: Sequence[Key]) -> None:
    # A key without an end is written as earlier versions of Ingot read it.
    entries = [{name: value for name, value in asdict(key).items() if value is not None} for key in keys]
    files.replace(directory / KEYS_FILE, yaml.safe_dump({"keys": entries}, sort_keys=False), mode=0o600)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Two `ingot keys` at once must not lose a key."""
    files.private_directory(directory)
    descriptor = os.open(directory / f".{KEYS_FILE}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
