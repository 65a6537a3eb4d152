"""All connections of one onboarding, from the first login on: each accepts the same host key only."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from paramiko import PKey, Transport

from ingot.errors import IngotError
from ingot.onboarding import known_hosts, login, ssh_keys
from ingot.onboarding.connection import Connection
from ingot.onboarding.dial import Line, Unreachable, dial, shown_keys
from ingot.onboarding.host_key import Rules, WrongKey, is_trusted, on_the_console, unconfirmed
from ingot.onboarding.known_hosts import HostKey, Pin, entry_name
from ingot.onboarding.login import NoLogin
from ingot.onboarding.request import Request, Talk
from ingot.onboarding.route import Hop

#: Keys offered on one connection: sshd ends it after six failures, or fewer where it was hardened.
_MOST_KEYS = 5
#: Seconds in which a reloaded sshd opens its port again.
_RELOAD_S = 10


class Contact:
    """Connects to one server. It remembers the host keys that were trusted; later connections accept no other."""

    def __init__(self, request: Request, talk: Talk) -> None:
        self.request = request
        self.talk = talk
        self.trusted: dict[tuple[str, int], HostKey] = {}
        #: The password of the first login; sudo mostly takes the same one.
        self.login_password: str | None = None

    def first(self) -> Connection:
        """Log in for the first time; to a server that is a member already, as its deploy user.

        Raises: IngotError, one sentence naming the host.
        """
        request = self.request
        if self._pins(request.way.target):
            with contextlib.suppress(NoLogin):
                connection = self._deploy_login()
                if connection.run("sudo -n true").status == 0:
                    return connection
                connection.close()
        if request.password is not None:
            return self._by_password(request.password)
        try:
            return self._by_keys()
        except NoLogin as refused:
            prompt = f"password of {request.first_user} on {request.name} ({request.way.target.address})"
            password = self.talk.secret(prompt) if refused.takes_passwords else None
            if password is None:
                raise IngotError(self._refused(refused)) from None
            return self._by_password(password)

    def proof(self) -> Connection:
        """Log in as the deploy user by key alone, in a connection of its own, and prove sudo.

        Raises: IngotError when that is not possible.
        """
        request = self.request
        label = request.identity.label
        try:
            connection = self._deploy_login()
        except NoLogin as refused:
            raise IngotError(
                f"{request.name}: the new login of {request.deploy_user} with {label} is refused ({refused}), expected "
                "it to work; see `journalctl -u ssh` on the server, and AllowUsers and AuthorizedKeysFile of its sshd."
            ) from None
        done = connection.run("sudo -n id -u")
        if done.status != 0 or done.output.strip() != "0":
            connection.close()
            raise IngotError(
                f"{request.name}: {request.deploy_user} logs in, but sudo says {done.said!r}, expected root without a "
                "password; look for a later rule in /etc/sudoers and /etc/sudoers.d."
            )
        return connection

    def proof_after_reload(self) -> Connection:
        """`proof`, tried again while sshd reopens its port after a reload. Raises: IngotError."""
        deadline = time.monotonic() + _RELOAD_S
        while True:
            try:
                return self.proof()
            except Unreachable:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.3)

    def target_key(self) -> HostKey:
        """The host key that was trusted."""
        target = self.request.way.target
        return self.trusted[target.address, target.port]

    # --- logins

    def _deploy_login(self) -> Connection:
        user, identity = self.request.deploy_user, self.request.identity
        line = self._open()
        with _closing_on_error(line):
            login.by_keys(line.transport, user, [identity.key])
        return self._connection(line, user, f"as {user} with {identity.label}")

    def _by_password(self, password: str) -> Connection:
        user = self.request.first_user
        line = self._open()
        with _closing_on_error(line):
            try:
                login.by_password(line.transport, user, password)
            except NoLogin as refused:
                raise IngotError(self._refused(refused)) from None
        connection = self._connection(line, user, f"as {user} with a password")
        self.login_password = password
        return connection

    def _by_keys(self) -> Connection:
        request = self.request
        user, file = request.first_user, request.first_key
        if file:
            key = ssh_keys.load_private(file)
            held = [one for one in ssh_keys.agent_keys() if one.get_base64() == _public_half(file)]
            if key is None and not held:
                raise IngotError(
                    f"{request.name}: {file} is no private key that can be used without a passphrase; name another "
                    f"one, or `ssh-add {file}`."
                )
            offered: list[PKey] = [key] if key else list(held)
        else:
            offered = [one.key for one in ssh_keys.defaults()][:_MOST_KEYS]
        line = self._open()
        with _closing_on_error(line):
            login.by_keys(line.transport, user, offered)
        return self._connection(line, user, f"as {user} with a key")

    def _connection(self, line: Line, user: str, how: str) -> Connection:
        return Connection(self.request.name, line.transport, user, how, line.under)

    def _refused(self, refused: NoLogin) -> str:
        request = self.request
        return (
            f"{request.name}: {request.way.target.label} refuses user {request.first_user} with {refused.offered} "
            f"({refused}), expected a login; check --user, or pass --ssh-key FILE or --password-stdin."
        )

    # --- lines

    def _open(self) -> Line:
        under: list[Transport] = []
        try:
            for hop in self.request.way.jumps:
                line = self._dial(hop, under)
                under.append(line.transport)
                self._jump_login(line.transport, hop)
            return self._dial(self.request.way.target, under)
        except BaseException:
            for transport in reversed(under):
                transport.close()
            raise

    def _dial(self, hop: Hop, under: Sequence[Transport]) -> Line:
        name = self.request.name
        kinds = [pin.key.kind for pin in self._pins(hop)]
        if (hop.address, hop.port) in self.trusted:
            kinds = [self.trusted[hop.address, hop.port].kind]
        try:
            return dial(name, hop, under, kinds, self._trust)
        except WrongKey as wrong:
            # The required fingerprint may be that of a key of another type.
            others = [key.kind for key in shown_keys(hop, under) if key.fingerprint == wrong.required]
            if not others:
                raise
            return dial(name, hop, under, others, self._trust)

    def _jump_login(self, transport: Transport, hop: Hop) -> None:
        own = [self.request.first_key, hop.identity, self.request.identity.file]
        files = [key for path in own if path and (key := ssh_keys.load_private(path))]
        offered = [*files, *(one.key for one in ssh_keys.defaults())][:_MOST_KEYS]
        try:
            login.by_keys(transport, str(hop.user), offered)
        except NoLogin as refused:
            raise IngotError(
                f"{self.request.name}: jump host {hop.label} refuses user {hop.user} with "
                f"{refused.offered} ({refused}), expected a login by key; correct --jump, or have it know your key."
            ) from None

    def _pins(self, hop: Hop) -> tuple[Pin, ...]:
        """What the inventory pins for a hop; where it pins nothing, what the user's own file does."""
        return known_hosts.pins(known_hosts.read(self._pin_file(hop)), entry_name(hop.address, hop.port))

    def _pin_file(self, hop: Hop) -> Path:
        ours, entry = self.request.known_hosts, entry_name(hop.address, hop.port)
        return hop.known_hosts if hop.known_hosts and not known_hosts.pins(known_hosts.read(ours), entry) else ours

    def _trust(self, hop: Hop, shown: HostKey) -> None:
        request = self.request
        earlier = self.trusted.get((hop.address, hop.port))
        if earlier == shown:
            return
        if earlier:
            raise IngotError(
                f"{request.name}: {hop.label} showed {earlier.fingerprint} before and {shown.fingerprint} now; two "
                "servers answer there, or someone is in between: stop and look."
            )
        is_target = hop == request.way.target
        rules = Rules(request.fingerprint if is_target else request.jump_fingerprint, request.accept_new)
        if not is_trusted(request.name, hop, shown, self._pins(hop), rules, self._pin_file(hop)):
            question = (
                f"{request.name}: {hop.label} shows the host key\n  {shown.kind} {shown.fingerprint}\n"
                f"Compare it on its console (`{on_the_console(shown)}`). Is it the same?"
            )
            answer = self.talk.confirm(question)
            if answer is None:
                raise unconfirmed(request.name, hop, shown, is_target=is_target)
            if not answer:
                raise IngotError(f"{request.name}: its host key was not confirmed; nothing was sent.")
        self.talk.say(request.name, f"{hop.label} has the host key {shown.kind} {shown.fingerprint}")
        self.trusted[hop.address, hop.port] = shown


def _public_half(file: Path) -> str:
    try:
        return ssh_keys.read_public(file.with_name(f"{file.name}.pub"))[0].text
    except IngotError:
        return ""


@contextlib.contextmanager
def _closing_on_error(line: Line) -> Iterator[None]:
    try:
        yield
    except BaseException:
        for transport in (line.transport, *reversed(line.under)):
            transport.close()
        raise
