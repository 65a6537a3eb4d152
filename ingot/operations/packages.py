"""apt packages with their sources, keys, pins and holds: waits for locks, never prompts, survives a lost connection."""

from __future__ import annotations

import base64
import fnmatch
import hashlib
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from importlib.resources import files

from pyinfra.api.command import PyinfraCommand
from pyinfra.context import host

from ingot.facts.packages import BEFORE, CHANGED_SOURCES, Apt, AptLook
from ingot.operations import changes, detached, proxy
from ingot.operations.described_sources import others
from ingot.operations.operation import operation
from ingot.operations.package_source import Extension, Source
from ingot.operations.standing import standing

RUN = (files(__package__) / "packages.sh").read_text()
#: What it reads: how a source comes, and what others say of the same repository goes and comes back.
SOURCES = (files(__package__) / "sources.sh").read_text()
#: How long a run waits for one installation (kernel modules are built in it), seconds.
LIMIT_S = 3600
#: How long it waits for another package manager, seconds.
LOCK_TIMEOUT_S = 300


@dataclass(frozen=True, slots=True)
class Pin:
    """A preference of apt: `packages` (names or globs) matching `pin` ("version 580.*") get `priority`."""

    name: str
    packages: str | Sequence[str]
    pin: str
    priority: int

    @property
    def path(self) -> str:
        """Where it is written."""
        return f"/etc/apt/preferences.d/ingot-{self.name}"

    @property
    def text(self) -> str:
        """The preference as apt reads it."""
        return (
            "Explanation: written by Ingot\n"
            f"Package: {_words(self.packages)}\nPin: {self.pin}\nPin-Priority: {self.priority}\n"
        )


@dataclass(frozen=True, slots=True)
class Around:
    """Two shell scripts: `pause` runs when all is downloaded, right before the first package changes, and stops apt
    where it fails; `resume` runs afterwards, whatever came of it."""

    pause: str
    resume: str


@dataclass(frozen=True, slots=True)
class PackagesPlan:
    """What differs: the lines that `packages.sh` follows, and the sentences that announce them."""

    lines: tuple[str, ...]
    sentences: tuple[str, ...]


def _words(given: str | Sequence[str]) -> str:
    return given if isinstance(given, str) else " ".join(given)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def compare(
    look: AptLook,
    names: Sequence[str],
    sources: Sequence[Source | Extension] = (),
    pins: Sequence[Pin] = (),
    holds: Sequence[str] = (),
    absent: Sequence[str] = (),
    recommends: bool = False,
    along: Sequence[str] = (),
    yields: Sequence[str] = (),
    newest: Sequence[str] = (),
) -> PackagesPlan:
    """What to do so that the host has these packages, in the order in which it must happen.

    `along` are packages that are brought to their newest version with any that is installed, `yields` those that apt
    may remove for it, `newest` those that are brought to their newest version in any case.
    """
    lines: list[str] = []
    sentences: list[str] = []
    digests, keyrings = look.digests or {}, look.keyrings or {}
    if look.broken:
        lines.append("configure")
        sentences.append(f"finish configuring {', '.join(look.broken)}, left half installed")
    for pin in pins:
        if digests.get(pin.path) != _digest(pin.text):
            lines.append(f"file\t{pin.path}\t{_encoded(pin.text)}")
            sentences.append(f"pin {_words(pin.packages)} to {pin.pin} with priority {pin.priority}")
    for source in sources:
        if isinstance(source, Extension):
            if digests.get(source.path) != _digest(source.text):
                lines.append(f"source\t{source.name}\t-\t-\t{_encoded(source.text)}")
                sentences.append(f"add more of the package sources that the host has ({source.path})")
            continue
        theirs = others(source, look.described)
        if theirs.used:
            if source.path in digests:
                lines.append(f"unsource\t{source.path}\t{source.keyring}")
                sentences.append(f"use package source {source.name} as {theirs.used} describes it")
            continue
        trusted = set(keyrings.get(source.keyring, ()))
        is_written = digests.get(source.path) == _digest(source.text) and source.name not in look.described.pending
        if not is_written or not trusted or trusted - set(source.fingerprints) or theirs.edits or theirs.stale:
            key = " ".join(source.fingerprints)
            for edit in theirs.edits:
                content = base64.b64encode(edit.content).decode()
                lines.append(f"theirs\t{source.name}\t{edit.path}\t{edit.before_sha256}\t{content}")
                sentences.append(f"switch off what {edit.path} says of package source {source.name}, and keep a copy")
            for path in theirs.stale:
                lines.append(f"stale\t{source.name}\t{path}")
                sentences.append(f"delete {path}, which package source {source.name} replaces")
            lines.append(f"source\t{source.name}\t{source.key_url}\t{key}\t{_encoded(source.text)}")
            sentences.append(f"add package source {source.name} ({' '.join(source.all_uris)}, key {key})")
    install: list[str] = []
    for wanted in names:
        name, _, version = wanted.partition("=")
        now = look.installed.get(name)
        if now is None:
            install.append(wanted)
            sentences.append(f"install {name}{' ' + version if version else ''}")
        elif version and not fnmatch.fnmatchcase(now.version, version):
            install.append(wanted)
            sentences.append(f"change {name} from {now.version} to {version}")
        elif name in newest:
            install.append(wanted)
            sentences.append(f"change {name} from {now.version} to the newest version")
    moved = [name for name in along if install and name not in install]
    install += moved
    sentences += [f"bring {name} to its newest version" for name in moved]
    remove = [name for name in look.installed if any(fnmatch.fnmatchcase(name, glob) for glob in absent)]
    sentences += [f"remove {name}" for name in remove]
    if install or remove:
        lines.append(f"removable\t{' '.join([*remove, *yields]) or '-'}")
        options = ["--install-recommends" if recommends else "--no-install-recommends"]
        options += ["--allow-downgrades", "--allow-change-held-packages"]
        lines.append(f"install\t{' '.join(options)}\t{' '.join([*install, *(f'{name}-' for name in remove)])}")
    # apt lifts the hold of what it changes, and a change may take along what depends on it.
    hold = [name for name in holds if install or name not in look.installed or not look.installed[name].held]
    if hold:
        lines.append(f"hold\t{' '.join(hold)}")
        sentences.append(f"hold {', '.join(hold)}")
    return PackagesPlan(tuple(lines), tuple(sentences))


def members(plan: PackagesPlan, host_name: str, lock_timeout_s: int) -> dict[str, str]:
    """The files that `packages.sh` reads on the host in context. Raises: IngotError for a proxy's files."""
    lines = [f"host\t{host_name}", f"patience\t{lock_timeout_s}", *plan.lines, ""]
    return {
        "plan": "\n".join(lines),
        "before": BEFORE,
        "changed": CHANGED_SOURCES,
        "sources.sh": SOURCES,
        "progress": 'tail -n 1 "$1/out"',
        **proxy.members(),
    }


@operation()
def packages(
    names: Sequence[str],
    sources: Sequence[Source | Extension] = (),
    pins: Sequence[Pin] = (),
    holds: Sequence[str] = (),
    absent: Sequence[str] = (),
    lock_timeout_s: int = LOCK_TIMEOUT_S,
    recommends: bool = False,
    yields: Sequence[str] = (),
    newest: Sequence[str] = (),
    around: Around | None = None,
) -> Generator[PyinfraCommand, None, None]:
    """
    Have packages installed, in one look and one command in a systemd unit of its own.

    + names: packages, `name` or `name=version` (a version may be a glob)
    + sources: repositories they come from; a key with another fingerprint is refused before it is used
    + pins: apt preferences
    + holds: packages that apt shall not upgrade by itself
    + absent: packages to remove (globs allowed); nothing else is ever removed
    + lock_timeout_s: how long to wait for another package manager
    + recommends: whether to install recommended packages too
    + yields: packages that apt may remove for it, where it must
    + newest: those of the packages that are brought to their newest version
    + around: what is stopped while packages change, and runs again afterwards

    Package lists are read again only for a new source or an unknown package.

    **Example:**

    .. code:: python

        packages.packages(name="Install nginx", names=("nginx", "libnginx-mod-http-js"))
    """
    wanted = [name.partition("=")[0] for name in names]
    look = standing(
        host,
        Apt,
        names=[*wanted, *(name for name in (*holds, *absent) if name not in wanted)],
        files=[source.path for source in sources] + [pin.path for pin in pins],
        keyrings=[source.keyring for source in sources if isinstance(source, Source)],
    )
    plan = compare(look, names, sources, pins, holds, absent, recommends, yields=yields, newest=newest)
    if not plan.lines:
        host.noop(f"{len(names)} packages are installed as described")
        return
    changes.announce(plan.sentences)
    files = members(plan, host.name, lock_timeout_s) | (
        {"pause": around.pause, "resume": around.resume} if around else {}
    )
    yield from detached.commands("ingot-packages", RUN, files, LIMIT_S)
