"""sshd without passwords and without root, in a way that cannot lock anybody out: proven, or put back by the server."""

from __future__ import annotations

from ingot.errors import IngotError
from ingot.onboarding.connection import Connection

#: Read before the files of cloud-init and of the distribution: of each keyword sshd takes the first value.
DROP_IN = "/etc/ssh/sshd_config.d/00-ingot.conf"

#: What is set, and what `sshd -T` shall then say. Source: sshd_config(5); MaxAuthTries as in the CIS benchmarks.
SETTINGS = {
    "PasswordAuthentication": "no",
    "KbdInteractiveAuthentication": "no",
    "PermitEmptyPasswords": "no",
    "PermitRootLogin": "no",
    "MaxAuthTries": "4",
    "LoginGraceTime": "30",
    "X11Forwarding": "no",
}

#: Seconds after which the server puts the old state back by itself, unless the new login was proven meanwhile; a boot
#: in between does it at once.
REVERT_AFTER_S = 120

# While this file exists the settings are unproven; it holds what was there before, nothing for no file.
_BEFORE = "/etc/ssh/.ingot-before"
_UNIT = "ingot-sshd-revert"

CONTENT = "# By `ingot onboard --harden`.\n" + "".join(f"{key} {value}\n" for key, value in SETTINGS.items())

# With socket activation (Ubuntu) a daemon that runs is reloaded too; one that does not will read the file when started.
_RELOAD = "if systemctl --quiet is-active ssh.service; then systemctl reload ssh.service; fi"

_RESTORE_FILE = (
    f"if [ -s {_BEFORE} ]; then cp {_BEFORE} {DROP_IN}.old && mv -f {DROP_IN}.old {DROP_IN}; else rm -f {DROP_IN}; fi"
)
# The timer lives in memory: a reboot in between ends it. So the next boot puts the old state back too, before sshd.
_SERVICE = f"/etc/systemd/system/{_UNIT}-at-boot.service"
_AT_BOOT = f"/etc/systemd/system/multi-user.target.wants/{_UNIT}-at-boot.service"
_FORGET = f"rm -f {_BEFORE} {_AT_BOOT} {_SERVICE}"
_RESTORE = f"if [ -e {_BEFORE} ]; then {_RESTORE_FILE}; {_RELOAD}; {_FORGET}; fi"
_SERVICE_TEXT = f"""\
# Written by Ingot (ingot onboard --harden); gone when the new login was proven, or the old settings are back.
[Unit]
Description=Ingot: put back the sshd settings that were never proven
Before=ssh.service ssh.socket

[Service]
Type=oneshot
ExecStart=/bin/sh -c 'if [ -e {_BEFORE} ]; then {_RESTORE_FILE}; fi; {_FORGET}'

[Install]
WantedBy=multi-user.target
"""

_LOOK = f'[ ! -e {_BEFORE} ] && [ "$(cat {DROP_IN} 2>/dev/null)" = "$(cat)" ]'

_APPLY = f"""
set -eu
umask 022
# Before the reload, which never came to see it.
drop() {{ {_RESTORE_FILE}; {_FORGET}; systemctl --quiet stop {_UNIT}.timer; echo "$1"; exit 3; }}
new=$(cat)
systemctl --quiet stop {_UNIT}.timer 2>/dev/null || true
systemctl --quiet reset-failed {_UNIT}.service 2>/dev/null || true
if [ ! -e {_BEFORE} ]; then
  cat {DROP_IN} > {_BEFORE}.new 2>/dev/null || : > {_BEFORE}.new
  mv -f {_BEFORE}.new {_BEFORE}
fi
cat > {_SERVICE}.new <<'END'
{_SERVICE_TEXT}END
mv -f {_SERVICE}.new {_SERVICE}
mkdir -p {_AT_BOOT.rpartition("/")[0]}
ln -sf {_SERVICE} {_AT_BOOT}
# On disk before what they undo, whatever becomes of the power.
sync {_BEFORE} {_SERVICE} {_BEFORE.rpartition("/")[0]} {_SERVICE.rpartition("/")[0]} {_AT_BOOT.rpartition("/")[0]}
systemd-run --quiet --collect --unit {_UNIT} --on-active={REVERT_AFTER_S} sh -c '{_RESTORE}'
mkdir -p /etc/ssh/sshd_config.d
sshd=$(command -v sshd || echo /usr/sbin/sshd)
mkdir -p -m 0755 /run/sshd
# As it will be read, before what is there: sshd's word on it comes first.
staged=$(mktemp /run/sshd/ingot.XXXXXXXX)
{{ printf '%s\\n' "$new"; cat /etc/ssh/sshd_config; }} > "$staged"
said=$("$sshd" -t -f "$staged" 2>&1) || {{ rm -f "$staged"; drop "sshd -t refuses it: $said"; }}
rm -f "$staged"
printf '%s\\n' "$new" > {DROP_IN}.new
mv -f {DROP_IN}.new {DROP_IN}
said=$("$sshd" -t 2>&1) || drop "sshd -t refuses it: $said"
effective=$("$sshd" -T -C user=root,host=localhost,addr=127.0.0.1)
for setting in {" ".join(f"{key.lower()}={value}" for key, value in SETTINGS.items())}; do
  line="${{setting%%=*}} ${{setting#*=}}"
  printf '%s\\n' "$effective" | grep -qx "$line" || drop "sshd does not take '$line' from it"
done
{_RELOAD}
"""

_CONFIRM = f"systemctl --quiet stop {_UNIT}.timer 2>/dev/null; {_FORGET}"
_PUT_BACK = f"systemctl --quiet stop {_UNIT}.timer 2>/dev/null; {_RESTORE}"


def is_hard(connection: Connection) -> bool:
    """Whether the settings are there and were proven."""
    return connection.as_root(_LOOK, stdin=CONTENT).status == 0


def apply(connection: Connection) -> None:
    """Set them, checked by sshd itself, and reload it: sessions go on. Unconfirmed, the server undoes it by itself.

    Raises: IngotError when sshd refuses; the old state is back then.
    """
    done = connection.as_root(_APPLY, stdin=CONTENT)
    if done.status != 0:
        raise IngotError(
            f"{connection.name}: sshd could not be hardened: {done.output.strip() or done.said}; the old settings are "
            "back; have /etc/ssh/sshd_config include sshd_config.d/*.conf at its top, and run it again."
        )


def confirm(connection: Connection) -> None:
    """Keep the settings: the new login was proven with them. Raises: IngotError."""
    done = connection.as_root(_CONFIRM)
    if done.status != 0:
        raise IngotError(
            f"{connection.name}: the hardened sshd could not be confirmed ({done.said}), so the server puts the old "
            f"settings back within {REVERT_AFTER_S} s; run it again."
        )


def put_back(connection: Connection) -> None:
    """Return to what was there before, at once. Raises: IngotError when the server has to do it by itself."""
    done = connection.as_root(_PUT_BACK)
    if done.status != 0:
        raise IngotError(
            f"{connection.name}: the old sshd settings could not be put back ({done.said}); the server does it by "
            f"itself within {REVERT_AFTER_S} s, run it again then."
        )
