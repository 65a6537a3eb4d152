"""One SSH connection over paramiko: commands as the login user or as root, secrets over stdin only."""

from __future__ import annotations

import contextlib
import shlex
from dataclasses import dataclass

from paramiko import Channel, SSHException, Transport

from ingot.errors import IngotError
from ingot.inventory.ssh_error import in_words

#: Seconds without a byte after which a command counts as lost.
COMMAND_TIMEOUT_S = 60

#: What paramiko says of a channel that closed before the command ended.
_NO_STATUS = -1

_READY, _BEGIN = "ingot-ready", "ingot-begin-of-input"
#: Printed before a command's own output: what stands above it is the login shell's.
_MARK = "ingot-answer"


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended: its exit status and output."""

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
    #: The first line that the login shell prints by itself; no answer has it.
    noise: str = ""

    def __repr__(self) -> str:
        return f"<Connection {self.name} as {self.user}>"

    def run(self, command: str, *, stdin: str = "", timeout_s: float = COMMAND_TIMEOUT_S) -> Done:
        """Run a command by the login shell of the user.

        Raises: IngotError when the connection ends or stays silent.
        """
        return self._run(command, None, stdin, timeout_s)

    def as_root(self, script: str, *, stdin: str = "", timeout_s: float = COMMAND_TIMEOUT_S) -> Done:
        """Run a shell script as root; `stdin` is the script's alone. Raises: IngotError as `run`."""
        if self.user == "root":
            return self._run(f"sh -c {shlex.quote(script)}", None, stdin, timeout_s)
        if self.sudo_password is None:
            return self._run(f"sudo -n sh -c {shlex.quote(script)}", None, stdin, timeout_s)
        # Whether sudo takes the password or needs none this time, the script's own input begins after the mark.
        skip = f'echo; echo {_READY}; while IFS= read -r l; do [ "$l" = {_BEGIN} ] && break; done; '
        command = f"sudo -S -p '' sh -c {shlex.quote(skip + script)}"
        return self._run(command, self.sudo_password, f"{_BEGIN}\n{stdin}", timeout_s)

    def _run(self, command: str, password: str | None, stdin: str, timeout_s: float) -> Done:
        try:
            channel = self.transport.open_session(timeout=timeout_s)
            try:
                channel.settimeout(timeout_s)
                channel.exec_command(f"printf '\\n{_MARK}\\n'; {command}")
                early = b""
                if password is not None:
                    # sudo-rs reads ahead: what follows the password is sent once the script runs.
                    channel.sendall(f"{password}\n".encode())
                    early = _until_ready(channel)
                # A command may end without having read its input: its status says why.
                with contextlib.suppress(OSError):
                    channel.sendall(stdin.encode())
                    channel.shutdown_write()
                output = (early + channel.makefile("rb").read()).decode(errors="replace")
                errors = channel.makefile_stderr("rb").read().decode(errors="replace")
                status = channel.recv_exit_status()
                if status == _NO_STATUS:
                    raise EOFError("it ended without an exit status")
                return Done(status, self._answer(output), errors)
            finally:
                channel.close()
        except (SSHException, OSError, EOFError) as broken:
            # The sentence does not repeat the input: it may hold a password.
            raise IngotError(
                f"{self.name}: the connection broke ({in_words(broken)}), expected an answer within {timeout_s:g} s; "
                "run it again, it goes on where it stopped."
            ) from None

    def _answer(self, output: str) -> str:
        """What stands below the mark; all of it from a login that is no shell."""
        noise, mark, answer = output.partition(f"\n{_MARK}\n")
        if not mark:
            return output
        self.noise = self.noise or noise.strip().partition("\n")[0].strip()
        return answer

    def accepts_sudo(self, password: str) -> Done:
        """Whether sudo takes a password; exactly one attempt is made."""
        return self.run("sudo -k -S -p '' true", stdin=f"{password}\n")

    def close(self) -> None:
        """End it, and the connections under it."""
        for transport in (self.transport, *reversed(self.under)):
            transport.close()


def _until_ready(channel: Channel) -> bytes:
    """Wait for the mark that the script prints first; return what came before it, all when sudo refuses to run it."""
    word = f"\n{_READY}\n".encode()
    got = b""
    # The script prints nothing more until it is sent its input.
    while not got.endswith(word) and (some := channel.recv(4096)):
        got += some
    return got.removesuffix(word)
