"""Root file systems of test hosts: built by mmdebstrap, kept in the cache under a key of what went in."""

import functools
import hashlib
import json
import shlex
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from ingot.sandbox.commands import run
from ingot.sandbox.errors import CommandFailed, SandboxError
from ingot.sandbox.paths import Paths
from ingot.sandbox.state import locked

USER = "ops"
USER_ID = 1000
BUILD_LIMIT_S = 1800
APT_LISTS = Path("/var/lib/apt/lists")
CERTIFICATES = Path("/usr/local/share/ca-certificates")

SUITES = {"debian13": "trixie", "debian12": "bookworm"}

# What a server has when its installer has finished.
BASE = [
    "ca-certificates",
    "curl",
    "dbus",
    "iproute2",
    "iputils-ping",
    "kmod",
    "less",
    "libpam-systemd",
    "openssh-server",
    "pciutils",
    "procps",
    "python3",
    "sudo",
    "systemd",
    "systemd-resolved",
    "systemd-sysv",
    "udev",
]
# What the roles install, and what shifts a host's clock: fetched once into apt's archive cache, so that each role run
# is a real apt install.
FETCHED = {
    "debian13": "docker.io docker-cli docker-compose docker-buildx nginx libnginx-mod-http-js openssl gnupg jq "
    "certbot pebble fio smartmontools unattended-upgrades logrotate libfaketime",
    "debian12": "docker.io nginx libnginx-mod-http-js openssl gnupg jq",
}


@dataclass(frozen=True)
class Mirror:
    """One apt source of this machine that carries Debian: `kind` is the suite's suffix ("", "-security", …)."""

    uri: str
    kind: str


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what is in a root file system."""

    os: str
    mirrors: tuple[Mirror, ...]
    apt_options: tuple[str, ...]
    certificates: tuple[tuple[str, str], ...]
    base: tuple[str, ...]
    fetched: tuple[str, ...]

    @property
    def key(self) -> str:
        """The name of its result in the cache: a hash of every file put in and every command run."""
        content = json.dumps([files(self), build_command(self, Path("root"), Path("work"))])
        return f"{self.os}-{hashlib.sha256(content.encode()).hexdigest()[:16]}"

    @property
    def sources(self) -> list[str]:
        """apt lines for this suite at the machine's own mirrors; none: mmdebstrap's own default mirror."""
        suite = SUITES[self.os]
        return [f"deb {mirror.uri} {suite}{mirror.kind} main" for mirror in self.mirrors]


def mirrors_from_index_targets(lines: Iterable[str]) -> tuple[Mirror, ...]:
    """Debian's own archive among the machine's apt sources.

    A line is `origin|codename|suite in the source|uri`, as `apt-get indextargets` formats it.
    """
    found: dict[str, Mirror] = {}
    for line in lines:
        origin, codename, release, uri = line.strip().split("|")
        base = codename.removesuffix("-security").removesuffix("-updates").removesuffix("-backports")
        kind = release.removeprefix(base)
        if origin == "Debian" and kind in ("", "-updates", "-security") and kind not in found:
            found[kind] = Mirror(uri.rstrip("/"), kind)
    return tuple(found[kind] for kind in sorted(found))


def carried_apt_options(dump: str) -> tuple[str, ...]:
    """Lines of `apt-config dump` that say how this machine reaches its mirrors (proxy, TLS, clock)."""
    prefixes = ("Acquire::http", "Acquire::https", "Acquire::Check-", "Acquire::ForceIPv", "Acquire::Retries")
    return tuple(line for line in dump.splitlines() if line.startswith(prefixes) and not line.endswith(' "";'))


@functools.cache
def recipe_for(os: str) -> Recipe:
    """The recipe of a root file system as this machine would build it; asked once, since apt reads all it knows."""
    if os not in SUITES:
        raise SandboxError(f"there is no test host with {os!r}: choose one of {', '.join(SUITES)}")
    form = "$(ORIGIN)|$(CODENAME)|$(RELEASE)|$(REPO_URI)"
    if not any(APT_LISTS.glob("*Packages*")):
        # Without lists apt cannot tell which of its sources is Debian's own.
        run(["apt-get", "update", "-q"], timeout_s=300)
    targets = run(["apt-get", "indextargets", "--format", form, "Created-By: Packages"])
    certificates = sorted(CERTIFICATES.rglob("*.crt")) if CERTIFICATES.is_dir() else []
    return Recipe(
        os=os,
        mirrors=mirrors_from_index_targets(targets.splitlines()),
        apt_options=carried_apt_options(run(["apt-config", "dump"])),
        certificates=tuple((path.name, path.read_text()) for path in certificates),
        base=tuple(BASE),
        fetched=tuple(FETCHED[os].split()),
    )


def build_command(recipe: Recipe, root: Path, work: Path) -> list[str]:
    """The mmdebstrap call that makes `root`; `work` holds the files to copy in.

    It dies with its caller (setpriv), with everything it started (a process namespace) and every mount it
    made (a mount namespace).
    """
    chroot = 'chroot "$1"'
    # This machine's apt on the chroot's packages: names resolve here, and this machine's certificates count.
    apt_get = 'APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-get'
    hooks = [
        f'cp -r {shlex.quote(str(work))}/files/. "$1"/',
        f"{chroot} update-ca-certificates",
        f"{chroot} useradd --create-home --shell /bin/bash --uid {USER_ID} {USER}",
        f"{chroot} systemctl enable systemd-networkd.service",
        # Packages are installed when a role says so, not when a timer does.
        f"{chroot} systemctl mask apt-daily.timer apt-daily-upgrade.timer",
        f"{apt_get} clean",
        f"{apt_get} install --yes --no-install-recommends --download-only {' '.join(recipe.fetched)}",
        'rm -f "$1"/etc/ssh/ssh_host_* "$1"/etc/resolv.conf "$1"/etc/hostname "$1"/etc/machine-id',
        'install -d -m 0755 "$1"/srv/ingot-mirror "$1"/var/lib/docker "$1"/var/lib/containerd',
    ]
    isolated = "setpriv --pdeathsig KILL unshare --mount --propagation private --pid --fork --kill-child --mount-proc"
    return [
        *isolated.split(),
        "mmdebstrap",
        "--mode=root",
        "--variant=minbase",
        f"--include={','.join(recipe.base)}",
        "--skip=cleanup/apt",
        *(f"--aptopt={option}" for option in (*recipe.apt_options, 'Acquire::Languages "none";')),
        *(f"--customize-hook={hook}" for hook in hooks),
        SUITES[recipe.os],
        str(root),
        *recipe.sources,
    ]


def files(recipe: Recipe) -> dict[str, str]:
    """Files of ours in the root file system, by path."""
    sshd = "PasswordAuthentication no\nUseDNS no\n"
    if recipe.os == "debian13":
        # Tests knock often, and with wrong keys: the real answer is wanted each time, not a penalty.
        sshd += "PerSourcePenalties no\n"
    return {
        "etc/apt/apt.conf.d/90ingot-keep-archives": 'Binary::apt::APT::Keep-Downloaded-Packages "true";\n',
        # A test host's disk need not survive a power cut of this machine.
        "etc/dpkg/dpkg.cfg.d/ingot-unsafe-io": "force-unsafe-io\n",
        "etc/ssh/sshd_config.d/ingot.conf": sshd,
        f"etc/sudoers.d/{USER}": f"{USER} ALL=(ALL) NOPASSWD: ALL\n",
        **{f"usr/local/share/ca-certificates/{name}": text for name, text in recipe.certificates},
    }


def ensure(paths: Paths, os: str, say: Callable[[str], None]) -> str:
    """The key of the image for `os`, built now if the cache has none."""
    recipe = recipe_for(os)
    if root(paths, recipe.key).is_dir():
        return recipe.key
    with locked(paths.images):
        if not root(paths, recipe.key).is_dir():
            _build(paths, recipe, say)
    return recipe.key


def root(paths: Paths, key: str) -> Path:
    """Where image `key` is, whole when it exists."""
    return paths.images / key


def reason(output: str) -> str:
    """The line that says why a build failed: the first of apt's or mmdebstrap's errors, else the last line."""
    lines = output.strip().splitlines()
    return next((line for line in lines if line.startswith("E: ")), lines[-1])


def _build(paths: Paths, recipe: Recipe, say: Callable[[str], None]) -> None:
    for leftover in paths.images.glob("building-*"):
        shutil.rmtree(leftover)
    work = paths.images / f"building-{recipe.key}"
    say(f"building the {recipe.os} root file system (once; about a minute)")
    for name, text in files(recipe).items():
        path = work / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o440 if "sudoers.d" in name else 0o644)
    try:
        run(build_command(recipe, work / "root", work), timeout_s=BUILD_LIMIT_S)
    except CommandFailed as failed:
        shutil.rmtree(work, ignore_errors=True)
        raise SandboxError(
            f"the {recipe.os} root file system could not be built in {paths.images}: {reason(str(failed))}"
        ) from failed
    (work / "root").rename(root(paths, recipe.key))
    shutil.rmtree(work)
