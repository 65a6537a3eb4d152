"""The packages that a host lacks for what is wished: asked of apt, in a root of its own with the host's state."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from ingot.bundle import program
from ingot.errors import IngotError
from ingot.operations.packages import Pin

_URI = re.compile(r"^'([^']+)' (\S+) (\d+) SHA256:([0-9a-f]{64})$", re.MULTILINE)
LIMIT_S = 300


@dataclass(frozen=True, slots=True)
class Needed:
    """A package file: its path below the tree that apt was shown, its size and digest as the signed index has it."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Root:
    """A root of apt's below `directory`, which reads repositories below `tree` and nothing of this machine."""

    directory: Path
    tree: Path
    architecture: str

    def prepare(self, dpkg_status: bytes, sources: Mapping[str, str], keyrings: Mapping[str, bytes]) -> None:
        """Make it: dpkg's status, descriptions of repositories and keyrings, each by name."""
        shutil.rmtree(self.directory, ignore_errors=True)
        for name in (
            "etc/sources.list.d",
            "etc/preferences.d",
            "etc/apt.conf.d",
            "keys",
            "lists/partial",
            "cache/archives/partial",
        ):
            (self.directory / name).mkdir(parents=True)
        (self.directory / "status").write_bytes(dpkg_status)
        for name, text in sources.items():
            (self.directory / "etc/sources.list.d" / f"{name}.sources").write_text(text)
        for name, keys in keyrings.items():
            self.keyring(name).write_bytes(keys)
        (self.directory / "apt.conf").write_text(
            "".join(f'{key} "{value}";\n' for key, value in self._options().items()) + "#clear APT::Architectures;\n"
            f'APT::Architectures {{ "{self.architecture}"; }};\n'
        )

    def keyring(self, name: str) -> Path:
        """Where a keyring is."""
        return self.directory / "keys" / name

    def _options(self) -> dict[str, str]:
        root = self.directory
        return {
            "Dir": f"{root}/",
            "Dir::Etc": "etc",
            "Dir::Etc::parts": f"{root}/etc/apt.conf.d",
            "Dir::Etc::main": "/dev/null",
            "Dir::Etc::sourcelist": "/dev/null",
            "Dir::Etc::sourceparts": f"{root}/etc/sources.list.d",
            "Dir::Etc::preferences": "/dev/null",
            "Dir::Etc::preferencesparts": f"{root}/etc/preferences.d",
            "Dir::Etc::trusted": "/dev/null",
            "Dir::Etc::trustedparts": f"{root}/keys/none",
            "Dir::State": f"{root}",
            "Dir::State::lists": f"{root}/lists",
            "Dir::State::status": f"{root}/status",
            "Dir::State::extended_states": f"{root}/extended_states",
            "Dir::Cache": f"{root}/cache",
            "Dir::Log": f"{root}/log",
            "APT::Architecture": self.architecture,
            "APT::Sandbox::User": "root",
            "APT::Install-Recommends": "false",
            "Acquire::Languages": "none",
            # Printed with each address; apt prints none else.
            "Acquire::ForceHash": "SHA256",
            "Debug::NoLocking": "true",
        }

    def read(self) -> None:
        """Have apt read the indexes, and prove their signatures. Raises: IngotError."""
        self._apt("update", "-o", "APT::Update::Error-Mode=any")

    def pin(self, pin: Pin) -> None:
        """Add a preference."""
        (self.directory / "etc/preferences.d" / Path(pin.path).name).write_text(pin.text)

    def pin_by(self, package: Path) -> None:
        """Add the preferences that a package brings."""
        into = self.directory / "pinning"
        run(["dpkg-deb", "--extract", str(package), str(into)], {})
        for file in (into / "etc/apt/preferences.d").glob("*"):
            shutil.copy(file, self.directory / "etc/preferences.d")

    def closure(self, names: Sequence[str]) -> tuple[Needed, ...]:
        """What apt would fetch to install these. Raises: IngotError with apt's own reason."""
        words = ["install", "--print-uris", "-q", "--no-install-recommends"]
        words += ["--allow-downgrades", "--allow-change-held-packages"]
        found = self._apt(*words, *names)
        needed = []
        for uri, _, size, sha256 in _URI.findall(found):
            path = unquote(uri.removeprefix("file://").removeprefix("file:"))
            needed.append(Needed(str(Path(path).relative_to(self.tree)), int(size), sha256))
        if len(needed) != sum(line.startswith("'") for line in found.splitlines()):
            raise IngotError("a repository names packages without SHA-256, expected one of each; take another mirror.")
        return tuple(needed)

    def has(self, name: str) -> bool:
        """Whether a repository has a package that apt would take."""
        return bool(re.search(r"^  Candidate: [0-9]", self._apt("policy", name, program="apt-cache"), re.MULTILINE))

    def _apt(self, *words: str, program: str = "apt-get") -> str:
        return run([program, *words], {"APT_CONFIG": f"{self.directory}/apt.conf"})


def run(argv: Sequence[str], environment: Mapping[str, str]) -> str:
    """What one of apt's tools prints. Raises: IngotError with its reasons."""

    def reasons(output: str, errors: str) -> str:
        lines = [line for line in (output + errors).splitlines() if line.startswith(("E: ", " ", "dpkg"))]
        return f"{' '.join(argv[:2])}: {' '.join(' '.join(lines[:6]).split()) or 'failed'}."

    words = program.Words(
        f"{argv[0]} is not on this machine; make bundles on Debian or Ubuntu.",
        f"`{' '.join(argv[:2])}` did not end within {LIMIT_S} s; try again.",
        reasons,
    )
    return program.run(argv, words, LIMIT_S, environment)
