"""A test host as tests and demos use it: each method is a promise, and breaking it raises with the reason."""

import shlex
import subprocess
import time
from pathlib import Path

from ingot.sandbox import machine
from ingot.sandbox.commands import LIMIT_S
from ingot.sandbox.errors import CommandFailed, SandboxError
from ingot.sandbox.image import USER
from ingot.sandbox.network import Network
from ingot.sandbox.paths import Paths
from ingot.sandbox.state import HostRecord, locked

OUTPUT_SHOWN = 2000


class TestHost:
    """One host of a sandbox. Commands run in it as root; every wait has a limit, in seconds."""

    # pytest would collect it by its name.
    __test__ = False

    def __init__(self, paths: Paths, network: Network, record: HostRecord) -> None:
        self.paths = paths
        self.network = network
        self.record = record

    def __repr__(self) -> str:
        return f"<TestHost {self.name} {self.address} {self.record.profile}>"

    @property
    def name(self) -> str:
        """Its name, also its host name."""
        return self.record.name

    @property
    def address(self) -> str:
        """Its IPv4 address, the same across reboots."""
        return self.record.address

    @property
    def user(self) -> str:
        """Who logs in: may use sudo without a password."""
        return USER

    @property
    def key_path(self) -> Path:
        """The operator's private key."""
        return self.paths.key

    @property
    def known_hosts_path(self) -> Path:
        """An OpenSSH known_hosts file with this host's key."""
        return self.paths.host(self.name) / "known_hosts"

    @property
    def pin(self) -> str:
        """The line of that file."""
        return self.known_hosts_path.read_text().strip()

    @property
    def console_path(self) -> Path:
        """What the machine printed while booting."""
        return self.paths.host(self.name) / "console.log"

    @property
    def is_running(self) -> bool:
        """Whether the machine is powered on."""
        return machine.running(self.paths, self.name)

    def ssh_command(self, *command: str, connect_timeout_s: int = 5) -> list[str]:
        """The OpenSSH call that logs in."""
        options = {
            "BatchMode": "yes",
            "ConnectTimeout": str(connect_timeout_s),
            "IdentitiesOnly": "yes",
            # The first choice of OpenSSH 9 (sntrup761) takes 65 ms of a core each time; both ends are this machine.
            "KexAlgorithms": "curve25519-sha256",
            "LogLevel": "ERROR",
            "ServerAliveInterval": "5",
            "StrictHostKeyChecking": "yes",
            "UserKnownHostsFile": str(self.known_hosts_path),
        }
        flags = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
        return ["ssh", "-F", "none", *flags, "-i", str(self.key_path), f"{self.user}@{self.address}", *command]

    def run(self, command: str, timeout_s: float = LIMIT_S, stdin: str | None = None) -> tuple[int, str]:
        """Run a shell command as root: its exit status (255: not reached) and output, errors included."""
        remote = f"sudo sh -c {shlex.quote('exec 2>&1; ' + command)}"
        try:
            done = subprocess.run(
                self.ssh_command(remote),
                check=False,
                input=stdin,
                stdin=subprocess.DEVNULL if stdin is None else None,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=timeout_s,
            )
        except subprocess.TimeoutExpired as expired:
            raise CommandFailed(f"{self.name}: `{command}` did not end within {timeout_s:g} s") from expired
        return done.returncode, done.stdout

    def succeeds(self, command: str, timeout_s: float = LIMIT_S) -> str:
        """Run a shell command as root that must exit with status 0; its output."""
        status, output = self.run(command, timeout_s)
        if status != 0:
            raise CommandFailed(
                f"{self.name}: `{command}` ended with status {status}: {output[-OUTPUT_SHOWN:].strip()}"
            )
        return output

    def fails(self, command: str, timeout_s: float = LIMIT_S) -> str:
        """Run a shell command as root that must not exit with status 0; its output."""
        status, output = self.run(command, timeout_s)
        if status == 0:
            raise CommandFailed(
                f"{self.name}: `{command}` succeeded, expected a failure: {output[-OUTPUT_SHOWN:].strip()}"
            )
        return output

    def put(self, path: str, content: str, mode: str = "0644") -> None:
        """Write a file as root, making its directories."""
        command = f"install -D -m {mode} /dev/stdin {shlex.quote(path)}"
        status, output = self.run(command, stdin=content)
        if status != 0:
            raise CommandFailed(f"{self.name}: {path} could not be written: {output.strip()}")

    def wait_until_succeeds(self, command: str, timeout_s: float = LIMIT_S) -> str:
        """Run a shell command again until it exits with status 0; its output."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                status, output = self.run(command, max(deadline - time.monotonic(), 0.1))
            except CommandFailed:
                status, output = 255, "no answer"
            if status == 0:
                return output
            if time.monotonic() > deadline:
                raise CommandFailed(
                    f"{self.name}: `{command}` did not succeed within {timeout_s:g} s; "
                    f"last status {status}: {output[-OUTPUT_SHOWN:].strip()}"
                )
            time.sleep(0.2)

    def wait_for_unit(self, unit: str, timeout_s: float = LIMIT_S) -> None:
        """Wait until a systemd unit is active; a failed unit is reported at once, with its journal."""
        deadline = time.monotonic() + timeout_s
        while True:
            _, output = self.run(f"systemctl is-active {shlex.quote(unit)}")
            state = output.strip()
            if state == "active":
                return
            if state == "failed" or time.monotonic() > deadline:
                _, journal = self.run(f"journalctl --no-pager --lines 20 --unit {shlex.quote(unit)}")
                raise SandboxError(
                    f"{self.name}: unit {unit} is {state}, expected active within {timeout_s:g} s: {journal}"
                )
            time.sleep(0.2)

    def wait_for_port(self, port: int, timeout_s: float = LIMIT_S) -> None:
        """Wait until something in the host listens on a TCP port."""
        self.wait_until_succeeds(f"ss -Hltn 'sport = :{port}' | grep -q .", timeout_s)

    def wait_for_boot(self, timeout_s: float = LIMIT_S) -> None:
        """Wait until the host answers SSH and all its boot jobs are done."""
        deadline = time.monotonic() + timeout_s
        while not self._answers():
            if not self.is_running or time.monotonic() > deadline:
                found = "does not answer SSH" if self.is_running else "stopped while booting"
                raise SandboxError(f"{self.name} {found} after {timeout_s:g} s at most: {self._console_tail()}")
            time.sleep(0.1)
        self.run("systemctl is-system-running --wait", max(deadline - time.monotonic(), 1))

    def _answers(self) -> bool:
        try:
            return (
                subprocess.run(
                    self.ssh_command("true", connect_timeout_s=1),
                    check=False,
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    timeout=LIMIT_S,
                ).returncode
                == 0
            )
        except subprocess.TimeoutExpired:
            return False

    def _console_tail(self) -> str:
        try:
            lines = self.console_path.read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return "it never printed anything"
        return " / ".join(lines[-5:]) or "its console is empty"

    def boot_id(self) -> str:
        """The kernel's id of this boot, another one after each."""
        return self.succeeds("cat /proc/sys/kernel/random/boot_id").strip()

    def reboot(self, timeout_s: float = LIMIT_S) -> None:
        """Reboot as an operator would and wait until the host is back."""
        before = self.boot_id()
        self.run("systemctl reboot")
        deadline = time.monotonic() + timeout_s
        while True:
            self.wait_for_boot(max(deadline - time.monotonic(), 1))
            status, output = self.run("cat /proc/sys/kernel/random/boot_id")
            if status == 0 and output.strip() != before:
                return
            if time.monotonic() > deadline:
                raise SandboxError(f"{self.name} did not reboot within {timeout_s:g} s")
            time.sleep(0.2)

    def kill(self) -> None:
        """Power loss: every process ends at once. What was written stays, as this machine's kernel holds it."""
        machine.kill(self.paths, self.name)

    def start(self, timeout_s: float = LIMIT_S) -> None:
        """Power on after `kill`, and wait until the host is back."""
        with locked(self.paths.state) as lock:
            if not self.is_running:
                machine.start(self.paths, self.network, self.record, lock)
        self.wait_for_boot(timeout_s)

    def shift_clock(self, seconds: int) -> None:
        """Make programs that start from now on see a clock this much ahead (behind where negative; 0: the true one).

        The clock is the machine's, which a host cannot set: libfaketime answers in its place, inside this host only.
        Programs that run already, containers, and programs that are linked statically see the true one.
        """
        if not seconds:
            self.succeeds("rm -f /etc/ld.so.preload /etc/faketimerc")
            return
        self.succeeds("apt-get install --quiet --yes --no-download libfaketime", timeout_s=300)
        self.put("/etc/faketimerc", f"{seconds:+d}\n")
        self.put("/etc/ld.so.preload", "/usr/$LIB/faketime/libfaketime.so.1\n")

    def cut_network(self) -> None:
        """Pull the network cable."""
        machine.unplug(self.network, self.record)

    def restore_network(self) -> None:
        """Plug the network cable back in."""
        machine.plug_in(self.network, self.record)
