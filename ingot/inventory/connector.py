"""The `@ingot` pyinfra connector: SSH with settings for a fleet; each connection error is one sentence.

A connection that is lost under a command ends that command and nothing else: it has failed, and `lost` says why.

Registered as a pyinfra connector in pyproject.toml; `inventories/*.py` name their hosts `@ingot/<host>`.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

from paramiko import SSHException
from paramiko.channel import ChannelFile, ChannelStderrFile, ChannelStdinFile
from pyinfra import logger
from pyinfra.api.arguments import CONNECTOR_ARGUMENT_KEYS, pop_global_arguments
from pyinfra.api.command import StringCommand
from pyinfra.api.exceptions import ConnectError, PyinfraError
from pyinfra.connectors.ssh import SSHConnector
from pyinfra.connectors.util import CommandOutput, OutputLine, make_unix_command_for_host

from ingot.errors import IngotError
from ingot.facts import look
from ingot.facts.look import Look
from ingot.facts.sections import Question
from ingot.inventory import journal
from ingot.inventory.host_files import ERROR_KEY
from ingot.inventory.ssh_error import in_words
from ingot.runs import DEPLOY, Hold, Run, this_run
from ingot.runs.hold import SCRIPT as HOLD
from ingot.settings import WrongValues, check_given, section
from ingot.settings.changes import Changes

#: Seconds between SSH keepalives; seconds after which unanswered data ends a connection (the link loses packets).
KEEPALIVE_S = 15
DEAD_LINK_S = 60
#: How long a host may take to answer one question, seconds; on a busy one the longest takes a tenth of it.
QUESTION_S = 300
#: How long a command runs before the run says that it waits for it, and how often it says so again, seconds.
WAITING_S = 60

#: Programs of the host that wait for a disk or a file system, as /proc has them: `ps` may wait for the same.
STUCK = "sed -n 's/^[0-9]* (\\(.*\\)) D .*/\\1/p' /proc/[0-9]*/stat 2>/dev/null | sort -u | head -n 5"
#: Printed where a login prints something by itself, between that and the answer of a command.
_MARK = "@@ingot-answer"

Answer = TypeVar("Answer")

# The connector reports each error once. paramiko's threads would print tracebacks too.
logging.getLogger("paramiko").setLevel(logging.CRITICAL)


class _Input:
    """The standard input of a command; what is written after the command's end goes nowhere."""

    def __init__(self, file: ChannelStdinFile) -> None:
        self._file = file

    def write(self, data: bytes) -> None:
        try:
            self._file.write(data)
        except OSError:
            if not self._file.channel.closed:
                raise

    def close(self) -> None:
        self._file.close()


class IngotConnector(SSHConnector):
    """SSH without Nagle's delay and with keepalive. A host whose file or values are wrong is refused, and no other.

    `noise` is the first line that a login prints by itself (a profile, a program of PAM); no answer has it.
    """

    noise: str = ""

    #: Why the connection is gone, in one sentence; None while it is there.
    lost: str | None = None
    _hold: Hold | None = None
    #: What this run holds the host for, also while the connection is lost.
    _purpose: str | None = None
    #: Why this run may not go on changing the host; None while it may.
    _stopped: str | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._look = Look(hosts=len(self.state.inventory))

    @staticmethod
    def make_names_data(name: str) -> Iterator[tuple[str, dict[str, Any], list[str]]]:
        yield name, {}, []

    def connect(self) -> None:
        """Connect and prove sudo.

        Raises: ConnectError, with one sentence: what was found, what was expected, what to do.
        """
        error = self.host.data.get(ERROR_KEY)
        if error:
            raise ConnectError(error)
        try:
            check_given(self.host)
        except WrongValues as wrong:
            raise ConnectError(str(wrong)) from None
        try:
            super().connect()
        # A private key that is missing or unreadable is no ConnectError to pyinfra, and would end the run of all hosts.
        except PyinfraError as refused:
            raise ConnectError(self._explain(str(refused.args[0]), refused.__context__)) from None
        self._tune()
        self._forgive_what_reads_no_input()
        self._prove_sudo()
        self.lost = None
        if self._purpose and self._hold is None:
            self._regain()

    def hold(self, purpose: str, wait_s: int) -> Hold:
        """Hold the host for this run until the connection ends, or until `disconnect`.

        Raises: Held where another run has it after `wait_s`; IngotError where the host does not answer.
        """
        if self._hold is not None:
            return self._hold
        client = self.client
        transport = client.get_transport() if client else None
        name = self.host.name
        script = StringCommand(f"echo\n{HOLD}")
        command = make_unix_command_for_host(self.state, self.host, script, **self._as_root("bash"))
        try:
            if transport is None:
                raise EOFError("no connection")
            logger.debug(f"Running command on {name}: what holds it for this run")
            channel = transport.open_session(timeout=DEAD_LINK_S)
            channel.exec_command(command.get_raw_value())
            hold = Hold(channel, name, this_run(purpose, self._checkout))
            hold.take(wait_s, lambda sentence: logger.info(f"{self.host.print_prefix}{sentence}"))
        except (OSError, EOFError, SSHException) as broken:
            raise IngotError(
                f"{name}: it could not be held for this run ({broken!r}), expected bash and flock as root there; see "
                "that the host is up and has room below /run, and run again."
            ) from None
        self._hold, self._purpose = hold, purpose
        self._look.again()
        journal.begun(self.host, hold.run)
        return hold

    def stream(self, script: str, feed: Callable[[BinaryIO], None] | None = None) -> tuple[int, str, str]:
        """Run a script of sh as root, with what `feed` writes as its standard input: status, output, errors.

        Raises: IngotError where the connection breaks.
        """
        client = self.client
        transport = client.get_transport() if client else None
        # The script is a word of the command: its standard input is the caller's.
        command = make_unix_command_for_host(self.state, self.host, StringCommand(script), **self._as_root("bash"))
        try:
            if transport is None:
                raise EOFError("no connection")
            channel = transport.open_session(timeout=DEAD_LINK_S)
            channel.exec_command(command.get_raw_value())
            output, errors = channel.makefile("rb"), channel.makefile_stderr("rb")
            # What ended early says why.
            with suppress(OSError), channel.makefile_stdin("wb", 1 << 16) as pipe:
                if feed:
                    feed(cast(BinaryIO, pipe))
            said, wrong = output.read().decode(errors="replace"), errors.read().decode(errors="replace")
            return channel.recv_exit_status(), said, wrong
        except (OSError, EOFError, SSHException) as broken:
            raise IngotError(
                f"{self.host.name}: the connection broke ({broken!r}); see that the host is up, and run it again."
            ) from None

    @property
    def _checkout(self) -> Path:
        """Where the fleet's repository is."""
        return Path(self.state.cwd or Path.cwd())

    def _as_root(self, shell: str = "sh") -> dict[str, Any]:
        """How commands of this host become root, as pyinfra has it: by its data, or by options of its command line."""
        given, _ = pop_global_arguments(self.state, self.host, {"_shell_executable": shell})
        own = ("_timeout", "_get_pty", "_stdin", "_success_exit_codes")
        return {key: value for key, value in given.items() if key in CONNECTOR_ARGUMENT_KEYS and key not in own}

    @property
    def held_by(self) -> Run | None:
        """This run, while it holds the host."""
        return self._hold.run if self._hold else None

    def suspend(self) -> None:
        """Let go of a connection that is lost or about to be; the next `connect` holds the host again."""
        self._look.forget()
        if self._hold:
            self._hold.abandon()
            self._hold = None
        super().disconnect()

    def disconnect(self) -> None:
        """End what this run held the host for: what it did goes to the audit, here and there."""
        if self._purpose:
            record = journal.ended(self.host, this_run(self._purpose, self._checkout))
            if self._hold:
                questions = self._look.to_keep if (self._purpose, record["result"]) == (DEPLOY, "done") else None
                self._hold.end(record, questions)
        self._hold = self._purpose = None
        super().disconnect()

    def run_shell_command(self, command: StringCommand, *args: Any, **arguments: Any) -> tuple[bool, CommandOutput]:
        """Run a command: its output begins where the command's does.

        Where the connection is lost it has failed without output, and `lost` is set. A standing fact's question is
        answered from the run's look where that is still true; any other command may change the host.
        """
        if not isinstance(command, Question):
            with self._look.changing():
                return self._run(command, *args, **arguments)
        answer = self._from_look(command, arguments)
        if answer is not None:
            return True, CommandOutput([OutputLine("stdout", line) for line in answer])
        if arguments.get("_timeout"):
            return self._run(command, *args, **arguments)
        try:
            return self._run(command, *args, **{**arguments, "_timeout": QUESTION_S})
        except TimeoutError:
            # Whatever it is asked next may hang as well.
            self.lost = self._stopped = self._unanswered(command)
            return False, CommandOutput([])

    def _unanswered(self, question: Question) -> str:
        """One sentence about a question that the host did not answer."""
        stuck: list[str] = []
        with suppress(TimeoutError):
            _, found = self._run(StringCommand(STUCK), **self._usual, _timeout=DEAD_LINK_S)
            stuck = found.stdout_lines
        named = f"; {', '.join(stuck)} wait there for a disk or a mount" if stuck else ""
        return (
            f"{self.host.name}: it did not answer within {QUESTION_S} s ({', '.join(question.sections)}), expected "
            f"seconds{named}; see which command hangs there (a dead disk or network mount?), mend that, run again."
        )

    def known(self, question: Question) -> list[str] | None:
        """The lines that this run's look answers a question of the current operation; None where it is to be asked.

        As `run_shell_command`, without pyinfra's reading of the host's global arguments for each question.
        """
        try:
            return self._from_look(question, self.host.current_op_global_arguments or {})
        except (OSError, SSHException):
            # Who asks by itself says what is wrong.
            return None

    @cached_property
    def _fresh(self) -> bool:
        return section(self.host, Changes).fresh

    @cached_property
    def _usual(self) -> dict[str, Any]:
        """How this run's looks are asked: as its first question is. What is asked otherwise is asked of the host."""
        return self._as_root()

    def _from_look(self, question: Question, arguments: Mapping[str, Any]) -> list[str] | None:
        """The answer of this run's look, which the first question of an operation takes; None: ask."""
        operation = self.host.current_op_hash
        if not operation or self.lost or self._stopped or self._fresh:
            return None
        usual = self._usual
        if any(arguments.get(key, value) != value for key, value in usual.items()) or arguments.get("_stdin"):
            return None
        if not self._look.ask(question, operation):
            return None
        if self._look.is_due(question):
            begun = self._look.begin()
            try:
                _, output = self._run(StringCommand(self._look.command(operation)), **usual, _timeout=look.LIMIT_S + 10)
            except TimeoutError:
                output = CommandOutput([])
            self._look.take(output.stdout_lines, begun)
        return self._look.answer(question)

    def _run(self, command: StringCommand, *args: Any, **arguments: Any) -> tuple[bool, CommandOutput]:
        run = super().run_shell_command
        marked = StringCommand(f"printf '\\n{_MARK}\\n';", command) if self.noise else command
        with self._saying():
            done, output = self._guarded(lambda: run(marked, *args, **arguments), (False, CommandOutput([])))
        return done, without_noise(output) if self.noise else output

    @contextmanager
    def _saying(self) -> Iterator[None]:
        """While a command runs: say again and again that the run waits for it, and in which operation."""
        ended = threading.Event()
        threading.Thread(target=self._say, args=(ended,), daemon=True).start()
        try:
            yield
        finally:
            ended.set()

    def _say(self, ended: threading.Event) -> None:
        began = time.monotonic()
        while not ended.wait(WAITING_S):
            operation = self.host.executing_op_hash or self.host.current_op_hash
            names = self.state.op_meta[operation].names if operation in self.state.op_meta else set()
            at = f" ({', '.join(sorted(names))})" if names else ""
            spent_s = time.monotonic() - began
            logger.info(f"{self.host.print_prefix}{self.host.name}: a command has run for {spent_s:.0f} s{at}")

    def put_file(self, *args: Any, **arguments: Any) -> bool:
        """Send a file; False where the connection is lost."""
        put = super().put_file
        with self._look.changing():
            return self._guarded(lambda: put(*args, **arguments), False)

    def rsync(self, *args: Any, **arguments: Any) -> bool:
        """Send files with rsync, which connects by itself."""
        with self._look.changing():
            sent: bool = super().rsync(*args, **arguments)
            return sent

    def get_file(self, *args: Any, **arguments: Any) -> bool:
        """Fetch a file; False where the connection is lost."""
        get = super().get_file
        return self._guarded(lambda: get(*args, **arguments), False)

    def _guarded(self, work: Callable[[], Answer], nothing: Answer) -> Answer:
        """Do what needs the connection; `nothing` where that is lost, or where this run lost its hold of the host."""
        if self._hold is not None and self._hold.over and self._is_alive():
            self._let_go_by_host()
        if self._stopped:
            self.lost = self._stopped
            return nothing
        try:
            answer = work()
        except (OSError, EOFError, SSHException, AttributeError) as broken:
            # Without a connection paramiko's client has no transport, which is an AttributeError.
            if self._is_alive():
                raise
            self._is_lost(repr(broken))
            return nothing
        # A link that dies under a command ends it with status -1 and no error.
        if not self._is_alive():
            self._is_lost("it ended under a command")
            return nothing
        return answer

    def _is_alive(self) -> bool:
        transport = self.client.get_transport() if self.client else None
        return transport is not None and transport.is_active()

    def _is_lost(self, why: str) -> None:
        self.lost = (
            f"{self.host.name}: the connection was lost ({why}), expected the host to answer until the run's end; see "
            "that it is up and reachable, then run again: it goes on from there."
        )

    def _let_go_by_host(self) -> None:
        """The host let go of this run: somebody broke the lock, or this machine slept; then the hold is taken again."""
        assert self._hold is not None
        by = self._hold.broken_by()
        self._hold = None
        if by:
            self._stopped = (
                f"{self.host.name}: {by} broke the lock of this run, which has stopped here; see `ingot history "
                f"{self.host.name}`, and run again."
            )
            return
        try:
            self._regain()
        except ConnectError as gone:
            self._stopped = str(gone.args[0])

    def _regain(self) -> None:
        """Hold the host again after the connection was lost. Raises: ConnectError where somebody else has it now."""
        assert self._purpose is not None
        try:
            self.hold(self._purpose, 0)
        except IngotError as taken:
            raise ConnectError(f"{taken} This run lost its connection, and with it the host.") from None

    def _tune(self) -> None:
        """Set keepalive, and TCP_NODELAY: without it each command waits about 45 ms for a delayed acknowledgement."""
        assert self.client is not None
        transport = self.client.get_transport()
        assert transport is not None
        transport.set_keepalive(KEEPALIVE_S)
        # Behind a jump host the transport runs over a channel, which has no socket options.
        if isinstance(transport.sock, socket.socket):
            transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if hasattr(socket, "TCP_USER_TIMEOUT"):
                transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_LINK_S * 1000)

    def _forgive_what_reads_no_input(self) -> None:
        """A command may end before its standard input was sent; its status says how it went, and no broken pipe."""
        assert self.client is not None
        begin = self.client.exec_command

        def exec_command(*args: Any, **arguments: Any) -> tuple[_Input, ChannelFile, ChannelStderrFile]:
            stdin, stdout, stderr = begin(*args, **arguments)
            return _Input(stdin), stdout, stderr

        self.client.exec_command = exec_command  # type: ignore[method-assign,assignment]

    def _prove_sudo(self) -> None:
        config = self.state.config
        asks = not self.host.data.get("_sudo") or config.SUDO_PASSWORD or getattr(config, "USE_SUDO_PASSWORD", None)
        assert self.client is not None
        # Not through pyinfra's own runner: that would ask for a password, once per host, in the middle of a run.
        try:
            logger.debug(f"Running command on {self.host.name}: the proof that sudo asks for no password")
            _, stdout, stderr = self.client.exec_command("true" if asks else "sudo -n true", timeout=DEAD_LINK_S)
            noise = stdout.read().decode(errors="replace").strip()
            said = stderr.read().decode(errors="replace").strip()
            status = stdout.channel.recv_exit_status()
        except (SSHException, OSError, EOFError) as broken:
            raise ConnectError(self._explain(f"the connection broke after the login: {in_words(broken)}")) from None
        self.noise = noise.partition("\n")[0].strip()
        if asks or not status:
            return
        user = self.data["ssh_user"]
        if "tty" in said:
            raise ConnectError(
                f"{self.host.name}: user {user} logs in, but sudo wants a terminal (requiretty: {said!r}), expected "
                f"none; add the line `Defaults:{user} !requiretty` with `visudo -f /etc/sudoers.d/zz-ingot-tty` there."
            )
        raise ConnectError(
            f"{self.host.name}: user {user} logs in, but sudo says {said!r} where no password "
            "was expected; add a sudoers rule for that user, or run pyinfra with --same-sudo-password."
        )

    def _explain(self, message: str, cause: BaseException | None = None) -> str:
        host, hostname, port = self.host.name, self.data["ssh_hostname"], self.data["ssh_port"] or 22
        pinned, found = self.data["ssh_known_hosts_file"], message.lower()
        if "does not match" in found:
            return (
                f"{host}: the host key of {hostname} port {port} is not the one pinned in {pinned}; if the host "
                "was reinstalled, compare its fingerprint on its console and replace the line, otherwise stop: "
                "someone may be in between."
            )
        if "found in known_hosts" in found:
            return (
                f"{host}: no host key is pinned for {hostname} port {port} in {pinned}; add the line that "
                f"`ssh-keyscan -p {port} {hostname}` prints, after comparing its fingerprint on the console."
            )
        if "private key" in found or "invalid key" in found:
            return f"{host}: its SSH key cannot be used ({message}); correct `ssh_key` in its host file."
        if "authentication" in found:
            keys = f"key {self.data['ssh_key']}" if self.data["ssh_key"] else "the agent's and ~/.ssh keys"
            return (
                f"{host}: {hostname} port {port} answers but refuses user {self.data['ssh_user']} with {keys}; "
                "check `user` and `ssh_key` in its host file and the host's authorized_keys."
            )
        if "resolve" in found:
            return f"{host}: the address {hostname} does not resolve; correct `address` in its host file."
        why = in_words(cause) if isinstance(cause, OSError) else message
        return (
            f"{host}: no SSH at {hostname} port {port} ({why}); check that the host is up and reachable "
            "from here, and `address` and `port` in its host file."
        )


def without_noise(output: CommandOutput) -> CommandOutput:
    """What a command printed after the mark; all of it where the mark is missing. Standard error stays."""
    printed = [line.line for line in output.combined_lines if line.buffer_name == "stdout"]
    if _MARK not in printed:
        return output
    before = printed.index(_MARK) + 1
    kept, seen = [], 0
    for line in output.combined_lines:
        seen += line.buffer_name == "stdout"
        if line.buffer_name != "stdout" or seen > before:
            kept.append(line)
    return CommandOutput(kept)
