"""The deploy user of a server: its account, its sudo and the operator's keys, converged by one script."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from ingot.errors import IngotError
from ingot.onboarding.connection import Connection
from ingot.onboarding.ssh_keys import PublicKey

_NAME = re.compile(r"^[a-z_][a-z0-9_-]{0,30}$")
_CHANGE = "ingot-change: "

#: How long the installation of sudo may take, seconds.
_APT_TIMEOUT_S = 600

# Differences are printed, then changed; with `dry` only printed. Files are renamed into place, so that a run that dies
# leaves the old file or the new one. A file of sudoers.d with a dot in its name is not read by sudo.
_SCRIPT = r"""
set -eu
umask 077
change() { echo "ingot-change: $1"; [ "$dry" = no ]; }
if ! command -v sudo >/dev/null; then
  if change "installs sudo"; then
    DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -qq update >&2
    DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -qq install sudo >&2
  fi
fi
if ! id -u "$user" >/dev/null 2>&1; then
  # No password fits "*", and unlike "!" it does not lock the account against keys.
  group=--user-group
  getent group "$user" >/dev/null && group=--gid=$user
  change "creates the user $user" && useradd --create-home "$group" --shell /bin/bash --password '*' "$user"
fi
if id -u "$user" >/dev/null 2>&1; then
  uid=$(id -u "$user")
  if [ "$uid" -lt 1000 ] || [ "$uid" -ge 65534 ]; then
    echo "$user is a system account (uid $uid)"; exit 3
  fi
  home=$(getent passwd "$user" | cut -d: -f6)
  case $(getent passwd "$user" | cut -d: -f7) in
    */nologin|*/false) change "gives $user a login shell" && usermod --shell /bin/bash "$user";;
  esac
  if [ ! -d "$home" ]; then
    change "makes $home" && mkdir -m 0700 "$home"
  fi
  for path in "$home" "$home/.ssh" "$home/.ssh/authorized_keys"; do
    if [ -e "$path" ] && [ "$(stat -c %u "$path")" != "$uid" ]; then
      change "gives $path to $user" && chown -h "$user:" "$path"
    fi
  done
fi
rule="$user ALL=(ALL:ALL) NOPASSWD: ALL"
sudoers() {
  if [ "$(cat "$1" 2>/dev/null)" != "$2" ] || [ "$(stat -c '%U %a' "$1" 2>/dev/null)" != "root 440" ]; then
    if change "$3 ($1)"; then
      mkdir -p -m 0755 /etc/sudoers.d
      new=$(mktemp "$1.XXXXXXXX")
      printf '%s\n' "$2" > "$new"
      chmod 0440 "$new"
      if ! visudo -c -f "$new" >&2; then rm -f "$new"; echo "visudo refuses $2"; exit 4; fi
      mv -f "$new" "$1"
    fi
  fi
}
sudoers "/etc/sudoers.d/90-ingot-$user" "$rule" "lets $user use sudo without a password"
# The last setting counts, and files are read in the order of their names; a sudo without requiretty has no such line.
if grep -rhsqE '^[[:space:]]*Defaults[^#]*[[:space:],]requiretty' /etc/sudoers /etc/sudoers.d; then
  sudoers "/etc/sudoers.d/zz-ingot-$user" "Defaults:$user !requiretty" "lets $user use sudo without a terminal"
fi
keys=$(cat)
if [ "$dry" = yes ] && ! id -u "$user" >/dev/null 2>&1; then
  echo "ingot-change: installs $(printf '%s\n' "$keys" | grep -c .) public keys"; exit 0
fi
# As the user itself: root writing below a home would follow whatever links are there.
printf '%s\n' "$keys" | runuser -u "$user" -- env dry="$dry" home="$home" sh -c '
set -eu
umask 077
authorized=$home/.ssh/authorized_keys
old=$(cat "$authorized" 2>/dev/null || true)
new=$old
added=0
while IFS= read -r line; do
  [ -n "$line" ] || continue
  blob=$(printf "%s" "$line" | cut -d" " -f2)
  printf "%s\n" "$new" | grep -v "^[[:space:]]*#" | grep -qF -- "$blob" && continue
  added=$((added + 1))
  new=$(printf "%s\n%s" "$new" "$line")
done
if [ "$added" -gt 0 ]; then
  echo "ingot-change: installs $added public keys in $authorized"
  if [ "$dry" = no ]; then
    mkdir -p "$home/.ssh"
    written=$(mktemp "$authorized.XXXXXXXX")
    printf "%s\n" "$new" | grep . > "$written"
    mv -f "$written" "$authorized"
  fi
fi
# sshd refuses a home, directory or file that others may write.
for path in "$home" "$home/.ssh" "$authorized"; do
  if [ -e "$path" ] && [ -n "$(find "$path" -maxdepth 0 -perm /022)" ]; then
    echo "ingot-change: takes write permission of others from $path"
    [ "$dry" = yes ] || chmod go-w "$path"
  fi
done
'
"""


def checked_name(user: str) -> str:
    """The name of a deploy user.

    Raises: IngotError for what is no name, and for root, whose logins are meant to end.
    """
    if user == "root" or not _NAME.match(user):
        raise IngotError(
            f"{user!r} cannot be the deploy user, expected a name of its own such as ingot (a-z, 0-9, '_' and '-'); "
            "correct --deploy-user."
        )
    return user


def converge(connection: Connection, user: str, keys: Sequence[PublicKey], *, dry: bool = False) -> tuple[str, ...]:
    """Set up the deploy user, or with `dry` only compare; return a phrase for each difference.

    Raises: IngotError naming the step that the server refused.
    """
    values = f"user={shlex.quote(user)}; dry={'yes' if dry else 'no'}"
    lines = "".join(f"{key.line}\n" for key in keys)
    done = connection.as_root(f"{values}\n{_SCRIPT}", stdin=lines, timeout_s=_APT_TIMEOUT_S)
    changes = tuple(line.removeprefix(_CHANGE) for line in done.output.splitlines() if line.startswith(_CHANGE))
    if done.status != 0:
        said = next((line for line in reversed(done.output.splitlines()) if not line.startswith(_CHANGE)), done.said)
        step = changes[-1] if changes else "looks at the account"
        raise IngotError(
            f"{connection.name}: the deploy user {user} could not be made ready: {said.strip()} (it {step}), expected "
            "an account with sudo and keys; mend that on the server, or name another one with --deploy-user."
        )
    return changes
