"""Python packages for the engine image: fetched by pip as this machine is configured, unpacked without it."""

import hashlib
import re
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
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


def fetch(lock: Path, directory: Path, say: Callable[[str], None]) -> list[Path]:
    """The wheel of every pin in `lock`, below `directory`, fetched where it is not there with an allowed hash.

    Raises: SandboxError when a package cannot be had, or has another hash than the lock.
    """
    directory.mkdir(parents=True, exist_ok=True)
    wanted = locked(lock.read_text())
    found = _find(wanted, directory)
    if len(found) < len(wanted):
        say(f"downloading {len(wanted) - len(found)} Python packages of the engine image (once)")
        _download(pip_download(directory, "--require-hashes", "--requirement", str(lock)))
        found = _find(wanted, directory)
    for name in sorted(wanted.keys() - found.keys()):
        raise SandboxError(f"pip fetched no {name} {wanted[name][0]} with the hash in {lock.name}")
    return [found[name] for name in sorted(found)]


def fetch_torch(version: str, index: str, directory: Path, say: Callable[[str], None]) -> Path:
    """The CPU wheel of torch: from where this machine's pip looks, else from `index`.

    It has no hash in the lock: the CPU build is not on the package index, every site has it from elsewhere, and
    whoever is configured to serve it is trusted.

    Raises: SandboxError when neither has it.
    """
    pattern = f"torch-{version}-cp{PYTHON.replace('.', '')}-*.whl"
    if not any(directory.glob(pattern)):
        say(f"downloading torch {version} (about 190 MB, once)")
        requirement = f"torch=={version}"
        # Without a hash nobody would notice half a wheel: it appears under its name when it is whole.
        with tempfile.TemporaryDirectory(dir=directory, prefix=".torch-") as scratch:
            try:
                _download(pip_download(Path(scratch), requirement))
            except SandboxError:
                _download(pip_download(Path(scratch), "--index-url", index, requirement))
            fetched = next(Path(scratch).glob(pattern))
            fetched.rename(directory / fetched.name)
    return next(directory.glob(pattern))


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


def _download(argv: Sequence[str]) -> None:
    try:
        run(argv, timeout_s=DOWNLOAD_LIMIT_S)
    except CommandFailed as failed:
        errors = [line for line in str(failed).splitlines() if line.startswith("ERROR:")]
        reason = errors[-1].removeprefix("ERROR: ") if errors else str(failed).splitlines()[-1]
        raise SandboxError(
            f"the engine image's Python packages could not be fetched ({reason}): "
            "check this machine's pip configuration and network"
        ) from failed
