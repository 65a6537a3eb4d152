"""Section "secrets": what this machine keeps of an inventory."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ingot.settings.gateway import TeamName
from ingot.settings.kinds import Expected, LocalPath, Section, Text, pattern


class KeysDirectory(Section):
    """An LDAP directory, and which of its groups are which teams."""

    uri: Annotated[str, *pattern(r"ldaps?://[^\s/]+/?", "an address such as 'ldaps://ldap.corp.example'")]
    groups: Annotated[
        dict[Text, TeamName], Field(min_length=1), Expected("teams by the names of the directory's entries")
    ]
    bind_dn: Annotated[Text | None, Expected("the name of an entry, or None to ask without one")] = None
    password_file: Annotated[LocalPath | None, Expected("a path on this machine, or None")] = None
    ca_file: Annotated[LocalPath | None, Expected("a path on this machine, or None for the system's CAs")] = None
    person: Annotated[
        Annotated[str, *pattern(r"[A-Za-z][A-Za-z0-9-]*", "")], Expected("an attribute such as 'uid' or 'mail'")
    ] = "uid"


class Secrets(Section):
    """Where the CA and the keys of teams are, and whose keys come from a directory."""

    keys_directory: Annotated[KeysDirectory | None, Expected("uri, groups and how to ask, or None")]
    secrets_dir: Annotated[LocalPath | None, Expected("a directory of this machine, or None")]
