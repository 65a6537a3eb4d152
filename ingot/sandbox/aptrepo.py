"""The signed apt repository of stand-in packages that test hosts install their NVIDIA stack from.

It stands in the cache at `mirror/apt`; guests see it at `/srv/ingot-mirror/apt`. The key is made once per cache.
"""

import gzip
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from ingot.sandbox.commands import run
from ingot.sandbox.paths import Paths
from ingot.sandbox.simulated import ubuntu
from ingot.sandbox.simulated.packages import Package, all_packages
from ingot.sandbox.state import locked

GUEST_URI = "file:/srv/ingot-mirror/apt"
KEY_NAME = "ingot-sandbox.asc"
SUITE, COMPONENT = "stable", "main"
# Raise when the way a repository is written changes, so that caches are rebuilt.
_LAYOUT = 1
# One date for everything: the same inputs give the same bytes.
_EPOCH = 1_767_225_600
_DATE = "Thu, 01 Jan 2026 00:00:00 UTC"


def build(paths: Paths | None = None, kernel_release: str | None = None) -> Path:
    """Make the repository unless it is there with exactly these contents; returns its directory.

    Args:
        paths: where the cache is; by default from the environment.
        kernel_release: the kernel that guests run on, this machine's by default.

    Raises:
        SandboxError: gpg or dpkg-deb is missing or fails.
    """
    cache = (paths or Paths.from_environment()).cache
    packages = (*all_packages(kernel_release or os.uname().release), *ubuntu.packages())
    link = cache / "mirror" / "apt"
    link.parent.mkdir(parents=True, exist_ok=True)
    with locked(cache / "apt.lock"):
        fingerprint = _signing_key(cache)
        name = f".apt-{_content_key(packages, fingerprint)}"
        target = link.parent / name
        if not target.exists():
            staging = Path(tempfile.mkdtemp(prefix=".apt-staging-", dir=link.parent))
            try:
                _write_repository(staging, packages, cache)
                staging.chmod(0o755)
                staging.rename(target)
            finally:
                shutil.rmtree(staging, ignore_errors=True)
        if not link.is_symlink() or link.readlink() != Path(name):
            fresh = link.with_name(".apt-link")
            fresh.unlink(missing_ok=True)
            fresh.symlink_to(name)
            fresh.replace(link)
        for other in link.parent.glob(".apt-*"):
            if other.name != name:
                shutil.rmtree(other, ignore_errors=True)
    return link


def source_values(paths: Paths | None = None) -> dict[str, dict[str, dict[str, str]]]:
    """Host data that points a test host's `sources` at the repository, built first where needed.

    Returns:
        {"sources": {"nvidia_driver": {...}, "nvidia_toolkit": {...}}}, each with uri, suite, component, key_url,
        key_fingerprint.
    """
    paths = paths or Paths.from_environment()
    build(paths)
    source = {
        "uri": GUEST_URI,
        "suite": SUITE,
        "component": COMPONENT,
        "key_url": f"file:///srv/ingot-mirror/apt/{KEY_NAME}",
        "key_fingerprint": (paths.cache / "apt-key" / "fingerprint").read_text().strip(),
    }
    return {"sources": {"nvidia_driver": dict(source), "nvidia_toolkit": dict(source)}}


def _content_key(packages: Iterable[Package], fingerprint: str) -> str:
    inputs = json.dumps([_LAYOUT, fingerprint, [asdict(package) for package in packages]], sort_keys=True)
    return hashlib.sha256(inputs.encode()).hexdigest()[:16]


def _write_repository(root: Path, packages: Iterable[Package], cache: Path) -> None:
    pool = root / "pool"
    pool.mkdir()
    stanzas = []
    with tempfile.TemporaryDirectory() as scratch:
        for package in packages:
            file = pool / package.file_name
            _write_deb(package, Path(scratch) / package.file_name, file)
            content = file.read_bytes()
            stanzas.append(
                f"{package.control()}Filename: pool/{file.name}\nSize: {len(content)}\n"
                f"SHA256: {hashlib.sha256(content).hexdigest()}\n"
            )
    suite = root / "dists" / SUITE
    index = suite / COMPONENT / "binary-amd64" / "Packages"
    index.parent.mkdir(parents=True)
    text = "\n".join(stanzas).encode()
    index.write_bytes(text)
    index.with_name("Packages.gz").write_bytes(gzip.compress(text, mtime=_EPOCH))
    release = _release(suite, [index, index.with_name("Packages.gz")])
    (suite / "Release").write_text(release)
    with _gpg(cache) as gpg:
        (suite / "InRelease").write_text(run([*gpg, "--clearsign"], stdin=release))
        (root / KEY_NAME).write_text(run([*gpg, "--armor", "--export"]))


def _release(suite: Path, indexes: Iterable[Path]) -> str:
    fields = {
        "Origin": "ingot-sandbox",
        "Label": "ingot-sandbox",
        "Suite": SUITE,
        "Codename": SUITE,
        "Date": _DATE,
        "Architectures": "amd64",
        "Components": COMPONENT,
        "Description": "Simulated: stand-ins for test hosts",
    }
    lines = [f"{key}: {value}" for key, value in fields.items()] + ["SHA256:"]
    for index in indexes:
        content = index.read_bytes()
        lines.append(f" {hashlib.sha256(content).hexdigest()} {len(content)} {index.relative_to(suite)}")
    return "\n".join(lines) + "\n"


def _write_deb(package: Package, tree: Path, file: Path) -> None:
    """Lay the package out as a directory and let dpkg-deb pack it; the same package gives the same bytes."""
    for path, text in package.files.items():
        _write(tree, path, text, 0o644)
    for path, text in package.programs.items():
        _write(tree, path, text, 0o755)
    for path, target in package.links.items():
        place = tree / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)
    _write(tree, "DEBIAN/control", package.control(), 0o644)
    configuration = [path for path in package.files if path.startswith("/etc/")]
    if configuration:
        _write(tree, "DEBIAN/conffiles", "".join(path + "\n" for path in configuration), 0o644)
    for name, text in package.scripts.items():
        _write(tree, f"DEBIAN/{name}", text, 0o755)
    for directory in [tree, *(path for path in tree.rglob("*") if path.is_dir() and not path.is_symlink())]:
        directory.chmod(0o755)
    environment = ["env", f"SOURCE_DATE_EPOCH={_EPOCH}"]
    run([*environment, "dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", str(tree), str(file)])


def _write(tree: Path, path: str, text: str, mode: int) -> None:
    place = tree / path.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)
    place.chmod(mode)


def _signing_key(cache: Path) -> str:
    """Fingerprint of the cache's signing key, made on first use and kept with mode 0600."""
    directory = cache / "apt-key"
    fingerprint = directory / "fingerprint"
    if not fingerprint.exists():
        directory.mkdir(mode=0o700, exist_ok=True)
        (directory / "secret.asc").unlink(missing_ok=True)
        with _gpg(cache) as gpg:
            owner = "Ingot test hosts <ingot@localhost>"
            run([*gpg, "--quick-generate-key", owner, "ed25519", "sign", "never"])
            listing = run([*gpg, "--with-colons", "--list-secret-keys"])
            secret = run([*gpg, "--armor", "--export-secret-keys"])
        (directory / "secret.asc").touch(mode=0o600)
        (directory / "secret.asc").write_text(secret)
        made = next(line.split(":")[9] for line in listing.splitlines() if line.startswith("fpr:"))
        # Written last: a key without its fingerprint was cut short and is made again.
        fingerprint.write_text(made + "\n")
    return fingerprint.read_text().strip()


@contextmanager
def _gpg(cache: Path) -> Iterator[list[str]]:
    """A gpg command line over a throwaway home with the cache's key in it; its agent ends with the home."""
    # gpg's agent listens on a socket below its home, whose path must stay short: not in the cache.
    with tempfile.TemporaryDirectory(prefix="ingot-gpg-") as home:
        command = ["gpg", "--homedir", home, "--batch", "--quiet", "--no-tty", "--pinentry-mode", "loopback"]
        command += ["--passphrase", "", "--digest-algo", "SHA512"]
        secret = cache / "apt-key" / "secret.asc"
        try:
            if secret.exists():
                run([*command, "--import", str(secret)])
            yield command
        finally:
            run(["gpgconf", "--homedir", home, "--kill", "all"])
