"""Logins on a connection whose host key is trusted: keys one after the other, or one password."""

from __future__ import annotations

from collections.abc import Sequence

from paramiko import AuthenticationException, BadAuthenticationType, PKey, SSHException, Transport

from ingot.onboarding.dial import CONNECT_TIMEOUT_S


class NoLogin(Exception):
    """A login that was refused: why, what was offered, and whether a password could work."""

    def __init__(self, why: str, offered: str, takes_passwords: bool = True) -> None:
        super().__init__(why)
        self.offered = offered
        self.takes_passwords = takes_passwords


def by_keys(transport: Transport, user: str, offered: Sequence[PKey]) -> None:
    """Try keys one after the other. Raises: NoLogin."""
    label = f"{len(offered)} keys" if len(offered) != 1 else "a key"
    why = "there is no key here"
    transport.auth_timeout = CONNECT_TIMEOUT_S
    for key in offered:
        try:
            _complete(transport.auth_publickey(user, key), label)
            return
        except BadAuthenticationType as error:
            passwords = bool({"password", "keyboard-interactive"} & set(error.allowed_types))
            raise NoLogin(_reason(error), label, passwords) from None
        except AuthenticationException as error:
            why = _reason(error)
        except (SSHException, EOFError) as error:
            raise NoLogin(_reason(error), label) from None
    raise NoLogin(why, label)


def by_password(transport: Transport, user: str, password: str) -> None:
    """Try a password once. Raises: NoLogin."""
    transport.auth_timeout = CONNECT_TIMEOUT_S
    try:
        _complete(transport.auth_password(user, password), "a password")
    except (SSHException, EOFError) as error:
        raise NoLogin(_reason(error), "a password") from None


def _complete(still_wanted: Sequence[str], offered: str) -> None:
    """Raises: NoLogin where the server took what was offered and asks for a second factor."""
    if still_wanted:
        raise NoLogin(f"it asks for {' and '.join(still_wanted)} besides", offered, takes_passwords=False)


def _reason(error: BaseException) -> str:
    if isinstance(error, BadAuthenticationType):
        return f"it takes {' and '.join(error.allowed_types)} only"
    return str(error).rstrip(".").lower() or type(error).__name__
