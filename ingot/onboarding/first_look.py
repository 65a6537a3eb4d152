"""The first questions to a new server, asked as the login user: enough to refuse it before anything is changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ingot.compat import rules
from ingot.errors import IngotError
from ingot.facts import driver
from ingot.facts.driver import Os, parse_os_release
from ingot.facts.errors import ParseError
from ingot.facts.host import TMP_OPTIONS
from ingot.facts.sections import Section, answer, compose, split
from ingot.onboarding.connection import Connection

QUESTIONS: dict[str, str] = {
    "kernel": "uname -s; uname -m",
    "os_release": driver.QUESTIONS["os_release"],
    "apt": "command -v apt-get && command -v dpkg-query",
    "sudo_there": "command -v sudo",
    "sudo": "sudo -n true",
    "tmp": 't=$(mktemp -p /tmp) && head -c 65536 /dev/zero >"$t"; s=$?; rm -f "$t"; exit $s',
    "tmp_options": TMP_OPTIONS,
}

SUPPORTED = "Ubuntu 22.04, 24.04 or 26.04 or Debian 12 or 13"


@dataclass(frozen=True, slots=True)
class FirstLook:
    """What a new server answers. `sudo_says` is sudo's refusal without a password, None if sudo needs none.

    `tmp_says` is why nothing can be written to /tmp, None where it can; `tmp_noexec` whether programs run there not.
    """

    kernel: str
    arch: str
    os: Os
    has_apt: bool
    has_sudo: bool
    sudo_says: str | None
    tmp_says: str | None = None
    tmp_noexec: bool = False


def look(connection: Connection) -> FirstLook:
    """Ask a server what it is.

    Raises: IngotError when the answers are not those of a Unix system.
    """
    done = connection.run(compose(QUESTIONS))
    try:
        return parse(split(done.output.splitlines()))
    except ParseError:
        raise IngotError(
            f"{connection.name}: the login answers {done.said!r}, expected a POSIX shell on Linux; check that the "
            "address is the server's and not that of its management controller or of a switch."
        ) from None


def parse(sections: Mapping[str, Section]) -> FirstLook:
    """The answers to `QUESTIONS`. Raises: ParseError."""
    kernel, arch = (*answer(sections, "kernel").output.split(), "", "")[:2]
    sudo, tmp = answer(sections, "sudo"), answer(sections, "tmp")
    return FirstLook(
        kernel=kernel,
        arch=arch,
        os=parse_os_release(answer(sections, "os_release").output),
        has_apt=answer(sections, "apt").status == 0,
        has_sudo=answer(sections, "sudo_there").status == 0,
        sudo_says=None if sudo.status == 0 else sudo.line or "nothing",
        tmp_says=None if tmp.status == 0 else tmp.line or "nothing",
        tmp_noexec="noexec" in answer(sections, "tmp_options").line.split(","),
    )


def refusal(seen: FirstLook) -> str | None:
    """Why a server cannot be a member, without its name and the final stop; None when it can. Pure."""
    if seen.kernel != "Linux":
        return f"this is {seen.kernel or 'no known system'}, expected Linux; install {SUPPORTED}"
    os = (seen.os.id, seen.os.version)
    if os not in rules.PLATFORMS:
        found = seen.os.pretty or " ".join(os).strip() or "a Linux without os-release"
        return f"{found} is not supported, expected {SUPPORTED}; reinstall the server with one of these"
    if seen.arch not in rules.MACHINES:
        return f"a {seen.arch} processor, expected {' or '.join(rules.MACHINES)}; there are no packages for it"
    if not seen.has_apt:
        return f"no apt on {seen.os.pretty}, expected apt and dpkg; reinstall the server with {SUPPORTED}"
    if seen.tmp_says is not None:
        return (
            f"/tmp takes no file of 64 KiB ({seen.tmp_says}), expected room there for apt and sudo; see "
            "`df -h /tmp; df -i /tmp` there, and empty it"
        )
    return None
