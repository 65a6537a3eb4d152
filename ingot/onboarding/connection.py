"""One SSH connection over paramiko: commands as the login user or as root, secrets over stdin only."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from paramiko import SSHException, Transport

from ingot.errors import IngotError

#: Seconds without a byte after which a command counts as lost.
COMMAND_TIMEOUT_S = 60

_BEGIN = "ingot-begin-of-input"


@dataclass(frozen=True, slots=True)
class Done:
    """What a command ended with."""

    status: int
    output: str
    errors: str

    @property
    def said(self) -> str:
        """Its last line on stderr, or else on stdout, for a sentence."""
        lines = [line.strip() for line in (self.errors.strip() or self.output.strip()).splitlines()]
        return lines[-1][:200] if lines else f"nothing, exit status {self.status}"


@dataclass(slots=True)
class Connection:
    """A login. `sudo_password` is None where sudo asks for none; `repr` shows neither it nor anything else secret."""

    name: str
    transport: Transport
    user: str
    how: str
    under: tuple[Transport, ...] = ()
    sudo_password: str | None = None

    def __repr__(self) -> str:
        return f"<Connection {self.name} as {self.user}>"

    def run(self, command: str, *, stdin: str = "", timeout_s: float = COMMAND_TIMEOUT_S) -> Done:
        """Run a command by the login shell of the user.

        Raises: IngotError when the connection ends or stays silent.
        """
        try:
            channel = self.transport.open_session(timeout=timeout_s)
            try:
                channel.settimeout(timeout_s)
                channel.exec_command(command)
                if stdin:
                    channel.sendall(stdin.encode())
                channel.shutdown_write()
                output = channel.makefile("rb").read().decode(errors="replace")
                errors = channel.makefile_stderr("rb").read().decode(errors="replace")
                return Done(channel.recv_exit_status(), output, errors)
            finally:
                channel.close()
        except (SSHException, OSError, EOFError) as broken:
            # What was sent stays out of the sentence: it may have held a password.
            raise IngotError(
                f"{self.name}: the connection broke ({type(broken).__name__}: {broken}), expected an answer within "
                f"{timeout_s:g} s; run it again, it goes on where it stopped."
            ) from None

    def as_root(self, script: str, *, stdin: str = "", timeout_s: float = COMMAND_TIMEOUT_S) -> Done:
        """Run a shell script as root; `stdin` is the script's alone."""
        if self.user == "root":
            return self.run(f"sh -c {shlex.quote(script)}", stdin=stdin, timeout_s=timeout_s)
        if self.sudo_password is None:
            return self.run(f"sudo -n sh -c {shlex.quote(script)}", stdin=stdin, timeout_s=timeout_s)
        # Whether sudo takes the password or needs none this time, the script's own input begins after the mark.
        skip = f'while IFS= read -r l; do [ "$l" = {_BEGIN} ] && break; done; '
        return self.run(
            f"sudo -S -p '' sh -c {shlex.quote(skip + script)}",
            stdin=f"{self.sudo_password}\n{_BEGIN}\n{stdin}",
            timeout_s=timeout_s,
        )

    def accepts_sudo(self, password: str) -> Done:
        """Whether sudo takes a password; exactly one attempt is made."""
        return self.run("sudo -k -S -p '' true", stdin=f"{password}\n")

    def close(self) -> None:
        """End it, and the connections under it."""
        for transport in (self.transport, *reversed(self.under)):
            transport.close()
