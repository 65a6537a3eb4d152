"""Python packages for the engine image: fetched by pip as this machine is configured, unpacked without it."""

import hashlib
import re
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

from ingot.sandbox.commands import run
from ingot.sandbox.errors import CommandFailed, SandboxError

#: The interpreter of the image (Debian 12's) and the newest glibc that its wheels may ask for.
PYTHON = "3.11"
GLIBC = 36
DOWNLOAD_LIMIT_S = 1800

_PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)", re.MULTILINE)
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


def pip_download(directory: Path, *words: str) -> list[str]:
    """The pip call that fetches wheels for the image, on whatever Python this machine has."""
    platforms = [f"manylinux_2_{minor}_x86_64" for minor in range(GLIBC, 4, -1)]
    platforms += ["manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64", "linux_x86_64"]
    return [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
        *("--no-deps", "--only-binary=:all:", "--python-version", PYTHON, "--implementation", "cp"),
        *(word for platform in platforms for word in ("--platform", platform)),
        *("--dest", str(directory), *words),
    ]


def locked(lock: str) -> dict[str, tuple[str, frozenset[str]]]:
    """The pins of a lock file: version and allowed SHA-256 by package."""
    pins = list(_PIN.finditer(lock))
    ends = [pin.start() for pin in pins[1:]] + [len(lock)]
    return {
        pin[1]: (pin[2], frozenset(_HASH.findall(lock[pin.start() : end]))) for pin, end in zip(pins, ends, strict=True)
    }


def fetch(lock: Path, directory: Path, say: Callable[[str], None], indexes: Mapping[str, str]) -> list[Path]:
    """The wheel of every pin in `lock`, below `directory`, fetched where it is not there with an allowed hash.

    `indexes` are addresses, by package, of what is not on the package index: asked where this machine's pip knows no
    place. Wherever a wheel comes from, its hash is the lock's.

    Raises: SandboxError when a package cannot be had, or has another hash than the lock.
    """
    directory.mkdir(parents=True, exist_ok=True)
    wanted = locked(lock.read_text())
    found = _find(wanted, directory)
    missing = wanted.keys() - found.keys()
    if missing:
        say(f"downloading {len(missing)} Python packages of the engine image (once; torch alone has 190 MB)")
        if missing - indexes.keys():
            _download(directory, {name: wanted[name] for name in missing - indexes.keys()})
        for name in sorted(missing & indexes.keys()):
            pin = {name: wanted[name]}
            try:
                _download(directory, pin)
            except SandboxError:
                _download(directory, pin, "--index-url", indexes[name])
        found = _find(wanted, directory)
    for name in sorted(wanted.keys() - found.keys()):
        raise SandboxError(f"pip fetched no {name} {wanted[name][0]} with the hash in {lock.name}")
    return [found[name] for name in sorted(found)]


def unpack(wheel: Path, target: Path, keep: Callable[[str], bool]) -> None:
    """Unpack a wheel's modules and metadata into `target`; scripts, headers and paths that `keep` refuses stay out."""
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            name = _installed_name(member.filename)
            if name is None or member.is_dir() or not keep(name):
                continue
            path = target / name
            if not path.resolve().is_relative_to(target.resolve()):
                raise SandboxError(f"{wheel.name} holds {member.filename}, outside of what a wheel may write")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(archive.read(member))
            path.chmod(0o755 if (member.external_attr >> 16) & 0o111 else 0o644)


def _installed_name(name: str) -> str | None:
    first, _, rest = name.partition("/")
    if not first.endswith(".data"):
        return name
    kind, _, below = rest.partition("/")
    return below if kind in ("purelib", "platlib") else None


def _find(wanted: dict[str, tuple[str, frozenset[str]]], directory: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for wheel in directory.glob("*.whl"):
        name, version = wheel.name.split("-")[:2]
        name = re.sub(r"[-_.]+", "-", name).lower()
        if name in wanted and version == wanted[name][0] and _sha256(wheel) in wanted[name][1]:
            found[name] = wheel
    return found


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download(directory: Path, pins: Mapping[str, tuple[str, frozenset[str]]], *words: str) -> None:
    lines = (
        f"{name}=={version} {' '.join(f'--hash=sha256:{digest}' for digest in sorted(hashes))}"
        for name, (version, hashes) in sorted(pins.items())
    )
    with tempfile.NamedTemporaryFile("w", suffix=".lock") as requirement:
        requirement.write("\n".join(lines) + "\n")
        requirement.flush()
        argv = pip_download(directory, *words, "--require-hashes", "--requirement", requirement.name)
        try:
            run(argv, timeout_s=DOWNLOAD_LIMIT_S)
        except CommandFailed as failed:
            errors = [line for line in str(failed).splitlines() if line.startswith("ERROR:")]
            reason = errors[-1].removeprefix("ERROR: ") if errors else str(failed).splitlines()[-1]
            raise SandboxError(
                f"the engine image's Python packages could not be fetched ({reason}): "
                "check this machine's pip configuration and network"
            ) from failed
