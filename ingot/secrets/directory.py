"""Who belongs to which team, as a company keeps it: in an LDAP directory, or in a CSV file."""

from __future__ import annotations

import csv
import io
import re
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ingot.errors import IngotError
from ingot.gateway.teams import NAME
from ingot.settings.secrets import KeysDirectory

#: What lists, files and logs can call a person: a login or a mail address.
PERSON = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")
#: How long a directory may take for one answer, seconds.
TIMEOUT_S = 15
#: Members of one group at most: what is more is no team, but everybody.
MOST_MEMBERS = 5000
#: Attributes that hold members as names of entries, and as logins.
_BY_ENTRY, _BY_LOGIN = ("member", "uniqueMember"), "memberUid"
#: Active Directory: an account that was switched off.
_DISABLED = 2


@dataclass(frozen=True, order=True)
class Membership:
    """One person in one team."""

    team: str
    person: str


def from_csv(path: Path) -> frozenset[Membership]:
    """The memberships of a file with the columns person and team, one a line.

    Raises: IngotError naming the line that cannot be used.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise IngotError(
            f"{path}: cannot be read ({why}); name a CSV file with the columns person and team."
        ) from error
    rows = csv.DictReader(io.StringIO(text))
    if not {"person", "team"} <= set(rows.fieldnames or ()):
        raise IngotError(
            f"{path}: its first line is {','.join(rows.fieldnames or ()) or 'empty'}, expected the columns person and "
            "team; add that line."
        )
    found = set()
    for row in rows:
        where = f"{path} line {rows.line_num}"
        found.add(Membership(_team(where, (row["team"] or "").strip()), _person(where, (row["person"] or "").strip())))
    return frozenset(found)


def from_ldap(ldap: KeysDirectory) -> frozenset[Membership]:
    """The members of the directory's groups; accounts that were switched off are none.

    Raises: IngotError when the directory does not answer, refuses, or lacks a group.
    """
    # Only who asks a directory waits for its library.
    import ldap3
    from ldap3.core.exceptions import LDAPException

    try:
        with _connected(ldap3, ldap) as connection:
            return frozenset(
                Membership(_team(f"{ldap.uri}: {group}", team), person)
                for group, team in ldap.groups.items()
                for person in _members(ldap3, connection, ldap, group)
            )
    except (LDAPException, OSError) as error:
        words = str(error).strip() or type(error).__name__
        raise IngotError(
            f"{ldap.uri}: the directory cannot be asked ({words}); check keys_directory, and that this machine "
            "reaches it."
        ) from error


def _connected(ldap3: Any, ldap: KeysDirectory) -> Any:
    # The name in the certificate is verified, by the site's own CA where one is named.
    ca = str(Path(ldap.ca_file).expanduser()) if ldap.ca_file else None
    tls = ldap3.Tls(validate=ssl.CERT_REQUIRED, ca_certs_file=ca)
    server = ldap3.Server(ldap.uri, tls=tls, get_info=ldap3.NONE, connect_timeout=TIMEOUT_S)
    connection = ldap3.Connection(
        server, user=ldap.bind_dn, password=_password(ldap), read_only=True, receive_timeout=TIMEOUT_S
    )
    if not ldap.uri.startswith(("ldaps://", "ldapi://")):
        connection.start_tls()
    if not connection.bind():
        said = connection.result.get("description", "no reason given")
        raise IngotError(
            f"{ldap.uri}: refuses {ldap.bind_dn or 'an anonymous caller'} ({said}); correct bind_dn or password_file "
            "in keys_directory."
        )
    return connection


def _password(ldap: KeysDirectory) -> str | None:
    if ldap.password_file is None:
        return None
    try:
        return Path(ldap.password_file).expanduser().read_text(encoding="utf-8").rstrip("\n")
    except OSError as error:
        raise IngotError(
            f"{ldap.password_file}: cannot be read ({error.strerror}); correct password_file in keys_directory."
        ) from error


def _members(ldap3: Any, connection: Any, ldap: KeysDirectory, group: str) -> Iterable[str]:
    found = _entry(ldap3, connection, group, [*_BY_ENTRY, _BY_LOGIN])
    if found is None:
        raise IngotError(f"{ldap.uri}: has no group {group!r}; correct its name in keys_directory.")
    entries = [one for name in _BY_ENTRY for one in found.get(name, ())]
    logins = found.get(_BY_LOGIN, [])
    if len(entries) + len(logins) > MOST_MEMBERS:
        raise IngotError(f"{ldap.uri}: {group!r} has more than {MOST_MEMBERS} members; name a smaller group.")
    for entry in entries:
        person = _entry(ldap3, connection, entry, [ldap.person, "userAccountControl"])
        names = (person or {}).get(ldap.person, ())
        # An entry that is gone, a group within the group, or an account that was switched off.
        if not names or any(int(flags) & _DISABLED for flags in (person or {}).get("userAccountControl", ())):
            continue
        yield _person(f"{ldap.uri}: {entry}", names[0])
    for login in logins:
        yield _person(f"{ldap.uri}: {group}", login)


def _entry(ldap3: Any, connection: Any, name: str, attributes: list[str]) -> dict[str, list[str]] | None:
    """The attributes of one entry, which may be missing; None where there is no such entry."""
    connection.search(name, "(objectClass=*)", search_scope=ldap3.BASE, attributes=attributes)
    for answer in connection.response or ():
        if answer.get("type") == "searchResEntry":
            return {name: [_text(one) for one in values] for name, values in answer["raw_attributes"].items()}
    return None


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _team(where: str, team: str) -> str:
    if not NAME.fullmatch(team):
        raise IngotError(
            f"{where}: {team!r} cannot be a team, expected 1 to 32 characters out of a-z, 0-9 and '-', not starting or "
            "ending with '-'; correct it."
        )
    return team


def _person(where: str, person: str) -> str:
    if not PERSON.fullmatch(person):
        raise IngotError(
            f"{where}: {person!r} cannot name a person, expected a login or a mail address of at most 64 characters; "
            "correct it."
        )
    return person
