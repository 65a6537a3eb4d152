"""Servers to be onboarded: each has accounts, settings, host keys and an sshd of its own inside one test host.

A test host boots in seconds, such a server in milliseconds: it is sshd in a mount namespace of its own, over the
host's /etc, /home, /root and /usr/local. Kernel, hardware and /var are the host's.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from ingot.sandbox import TestHost

FIRST_PORT = 2200
PASSWORD = "correct horse; $battery 'staple'"

_START = """set -eu
for one in etc home root usr/local; do
  mkdir -p $d/$one/up $d/$one/work
  mount -t overlay overlay -o lowerdir=/$one,upperdir=$d/$one/up,workdir=$d/$one/work /$one
done
rm -f /etc/ssh/ssh_host_* /etc/ssh/sshd_config.d/*
for kind in ed25519 ecdsa; do ssh-keygen -q -t $kind -N '' -f /etc/ssh/ssh_host_${kind}_key; done
. $d/prepare
journalctl --sync
journalctl --quiet --no-pager --lines=1 --output=export --output-fields= | sed -n 's/^__CURSOR=//p' > $d/before
exec /usr/sbin/sshd -D -p $port -o PidFile=$d/pid
"""

#: A login with a password and sudo with the same one, as an installer leaves it.
INSTALLER = (
    "useradd --create-home --shell /bin/bash --groups sudo installer; "
    f"echo {shlex.quote('installer:' + PASSWORD)} | chpasswd"
)
#: Somebody who may log in and no more.
GUEST = f"useradd --create-home --shell /bin/bash guest; echo {shlex.quote('guest:' + PASSWORD)} | chpasswd"
ROOT = f"echo {shlex.quote('root:' + PASSWORD)} | chpasswd; echo PermitRootLogin yes > /etc/ssh/sshd_config.d/root.conf"


def start(servers: Sequence[Server], prepare: str) -> None:
    """Boot servers of one test host, each after running `prepare` in it as root; they listen when this returns."""
    host = servers[0].host
    numbers = " ".join(str(server.number) for server in servers)
    host.put("/run/servers/start", _START)
    host.put("/run/servers/prepare", f"{prepare}\n")
    host.succeeds(
        f"for n in {numbers}; do d=/run/servers/$n; mkdir -p $d; cp /run/servers/prepare $d; "
        f"systemd-run --quiet --collect --unit server-$n -p PrivateMounts=yes -E d=$d -E port=$(({FIRST_PORT} + n)) "
        f"sh /run/servers/start || exit 1; done; "
        f"for n in {numbers}; do until [ -e /run/servers/$n/pid ]; do "
        "systemctl is-active --quiet server-$n || exit 1; sleep 0.02; done; done"
    )


def stop(servers: Sequence[Server]) -> None:
    """Power servers of one test host off; what they were is gone."""
    units = " ".join(f"server-{server.number}" for server in servers)
    directories = " ".join(server.directory for server in servers)
    servers[0].host.succeeds(f"systemctl kill --signal=KILL {units}; systemctl stop {units}; rm -rf {directories}")


@dataclass(frozen=True)
class Server:
    """One server of a test host, at a port of its own."""

    host: TestHost
    number: int

    @property
    def address(self) -> str:
        """The test host's."""
        return self.host.address

    @property
    def port(self) -> int:
        """Where its sshd listens."""
        return FIRST_PORT + self.number

    @property
    def directory(self) -> str:
        """Where its files lie on the test host."""
        return f"/run/servers/{self.number}"

    def run(self, command: str) -> tuple[int, str]:
        """Run a shell command in it as root: exit status and output."""
        return self.host.run(f"nsenter -t $(cat {self.directory}/pid) -m sh -c {shlex.quote(command)}")

    def succeeds(self, command: str) -> str:
        """Run a shell command in it as root that must succeed; its output."""
        return self.host.succeeds(f"nsenter -t $(cat {self.directory}/pid) -m sh -c {shlex.quote(command)}")

    def fingerprint(self, kind: str = "ed25519") -> str:
        """The fingerprint of one of its host keys, as its console shows it."""
        return self.succeeds(f"ssh-keygen -lf /etc/ssh/ssh_host_{kind}_key.pub").split()[1]

    def written(self) -> list[str]:
        """Checksums of everything that was written to it since it was made."""
        # sudo leaves a note at its first use, for the shell's greeting.
        others = "-type f ! -name .sudo_as_admin_successful"
        return self.host.succeeds(
            f"cd {self.directory} && find etc/up home/up root/up usr/local/up {others} -exec sha256sum {{}} + | sort"
        ).splitlines()

    def log(self) -> str:
        """What its sshd, PAM and the host's sudo wrote since it was started."""
        invocation = f"$(systemctl show -P InvocationID server-{self.number})"
        return self.host.succeeds(
            f'journalctl --no-pager -o cat --after-cursor="$(cat {self.directory}/before)" '
            f"_SYSTEMD_INVOCATION_ID={invocation} + SYSLOG_IDENTIFIER=sudo"
        )

    def heard_of(self, user: str) -> bool:
        """Whether anybody tried to log in as a user since it was started."""
        invocation = f"_SYSTEMD_INVOCATION_ID=$(systemctl show -P InvocationID server-{self.number})"
        log = self.host.succeeds(f"journalctl --no-pager -o cat -t sshd -t sshd-session -t sshd-auth {invocation}")
        return f" {user} " in log
