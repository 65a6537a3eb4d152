"""The container engines of a host: packages, programs, containers, daemon.json, and the distribution it runs on."""

from __future__ import annotations

import base64
import codecs
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pyinfra.api.facts import FactBase

from ingot.facts.footprint import PROJECTS
from ingot.facts.packages import PackageState, parse_installed
from ingot.facts.sections import Question, Section, split

CONFIG = "/etc/docker/daemon.json"
#: Ids of the containers that ran before their engine was exchanged, from before that until they run again.
PAUSED = "/var/lib/ingot/docker-paused"
#: Packages that are a container engine, are replaced by one, or depend on how it is set up.
PACKAGES = (
    "containerd",
    "containerd.io",
    "docker-buildx",
    "docker-buildx-plugin",
    "docker-ce",
    "docker-ce-cli",
    "docker-ce-rootless-extras",
    "docker-cli",
    "docker-compose",
    "docker-compose-plugin",
    "docker-compose-v2",
    "docker-doc",
    "docker.io",
    "nvidia-docker2",
    "podman-docker",
    "runc",
)
#: The flags that the packages' own units give dockerd.
_OWN_FLAGS = ("-H", "--host", "--containerd", "--pidfile")
#: Modes of daemon.json that hide it from others, which may be meant: it can hold a proxy's password.
_MODES = ("0600", "0640", "0400", "0440")
#: dockerd's account of itself, in JSON. One that does not run is not started by the question, as its socket would.
INFO = (
    "systemctl is-active --quiet docker.service && command -v docker >/dev/null && "
    "timeout 30 docker info --format '{{json .}}' 2>/dev/null"
)
_SNAP_ROOT = "/var/snap/docker/common/var-lib-docker"


@dataclass(frozen=True, slots=True)
class Container:
    """One container as its engine has it on disk. `vanishes`: it is removed when it stops (`docker run --rm`)."""

    name: str
    running: bool = False
    ours: bool = False
    vanishes: bool = False


@dataclass(frozen=True, slots=True)
class Program:
    """A program in root's path: where it really is, the package that brought it, and whether it is a script."""

    path: str
    package: str | None = None
    is_script: bool = False


@dataclass(frozen=True, slots=True)
class Daemon:
    """A dockerd that runs: the user's id, the program and its arguments."""

    uid: int
    program: str
    arguments: tuple[str, ...] = ()

    @property
    def is_snap(self) -> bool:
        """Whether it is that of the snap."""
        return self.program.startswith("/snap/")

    @property
    def flags(self) -> tuple[str, ...]:
        """Names of the flags that somebody added, without dashes: ("data-root",)."""
        names = [one.partition("=")[0] for one in self.arguments if one.startswith("-")]
        return tuple(name.lstrip("-") for name in names if name not in _OWN_FLAGS)


@dataclass(frozen=True, slots=True)
class DockerState:
    """One look. `version` is dockerd's, None where there is none; `config` the text of daemon.json, None likewise.

    `packages` are those of PACKAGES that are installed, `takes_along` what apt would remove with those that another
    Docker replaces. `containers` are those of the system's Docker, `snap` those of the snap's, None where the snap is
    not installed. `live_restore` is what dockerd runs with, None where it does not answer. `says` is the first line
    that `docker --version` prints, `elsewhere` what sends root's docker to another daemon, `namespaces` who has tasks
    in containerd, `drivers` the storage drivers of the data, `paused` whether an exchange was cut off.
    """

    os: str
    os_version: str
    codename: str
    arch: str
    version: tuple[int, ...] | None = None
    config: str | None = None
    swarm: bool = False
    packages: Mapping[str, PackageState] = field(default_factory=dict)
    takes_along: tuple[str, ...] = ()
    dockerd: Program | None = None
    docker: Program | None = None
    says: str = ""
    daemons: tuple[Daemon, ...] = ()
    containers: tuple[Container, ...] = ()
    snap: tuple[Container, ...] | None = None
    podman: tuple[str, ...] = ()
    live_restore: bool | None = None
    masked: tuple[str, ...] = ()
    elsewhere: str = ""
    namespaces: tuple[str, ...] = ()
    drivers: tuple[str, ...] = ()
    paused: bool = False
    #: Who may read daemon.json stays as it is.
    config_mode: str = "0644"

    @property
    def others(self) -> tuple[Container, ...]:
        """The containers of somebody else."""
        return tuple(one for one in self.containers if not one.ours)

    @property
    def system(self) -> Daemon | None:
        """The system's dockerd, where it runs."""
        return next((one for one in self.daemons if one.uid == 0 and not one.is_snap), None)

    @property
    def snap_runs(self) -> bool:
        """Whether the snap's dockerd runs."""
        return any(one.is_snap for one in self.daemons)


# Of a container only its own process namespace tells a dockerd that runs in another container.
_DAEMONS = (
    "own=$(readlink /proc/self/ns/pid); for p in $(pgrep -x dockerd); do "
    '[ "$(readlink /proc/$p/ns/pid)" = "$own" ] || continue; '
    'printf \'%s\\t%s\\t\' "$(stat -c %u /proc/$p)" "$(readlink /proc/$p/exe)"; '
    "tr '\\0' '\\t' </proc/$p/cmdline; echo; done; true"
)
# The directory of the system's Docker: a flag of the one that runs, else its file's, else the default.
_ROOT = (
    f"root=$({{ {_DAEMONS}; }} | awk -F'\\t' '$1 == 0 && $2 !~ \"^/snap/\" {{ for (i = 3; i <= NF; i++) "
    'if ($i ~ /^--data-root=/) { sub(/^[^=]*=/, "", $i); print $i } else if ($i == "--data-root") print $(i + 1) }'
    f'\'); [ -n "$root" ] || root=$(sed -n \'s/.*"data-root"[^"]*"\\([^"]*\\)".*/\\1/p\' {CONFIG} 2>/dev/null); '
    "root=${root:-/var/lib/docker}; "
)


def _containers(root: str) -> str:
    """Prints name, whether it runs, its Compose project and whether it vanishes, for each container below a root."""
    return (
        f'for d in "{root}"/containers/*/; do c=$d/config.v2.json; [ -f "$c" ] || continue; '
        "printf '%s\\t%s\\t%s\\t%s\\n' "
        '"$(grep -o \'"Name":"/[^"]*"\' "$c" | head -n 1 | cut -d/ -f2- | tr -d \'"\')" '
        '"$(grep -c \'"State":{"Running":true\' "$c")" '
        '"$(grep -o \'"com.docker.compose.project":"[^"]*"\' "$c" | head -n 1 | cut -d\\" -f4)" '
        '"$(grep -c \'"AutoRemove":true\' "$d/hostconfig.json")"; done; true'
    )


#: Packages that another engine replaces: apt is asked what else would go with them.
_REPLACED = (
    "docker.io docker-cli docker-compose docker-compose-v2 docker-buildx docker-doc containerd runc podman-docker"
)

#: Simulating a removal takes apt about half a second: asked only where Docker's own packages are wanted.
_ALONG = (
    f"here=$(dpkg-query -W -f='${{db:Status-Abbrev}}\\t${{Package}}\\n' {_REPLACED} 2>/dev/null "
    "| sed -n 's/^.i.\\t//p'); [ -z \"$here\" ] || "
    "apt-get -s remove --allow-change-held-packages $here 2>/dev/null "
    "| sed -n 's/^Remv \\([^ :]*\\).*/\\1/p'; true"
)

QUESTIONS: dict[str, str] = {
    "docker_release": "cat /etc/os-release",
    "docker_arch": "dpkg --print-architecture",
    "docker_version": "dockerd --version",
    "docker_config": f"base64 {CONFIG} 2>/dev/null",
    "docker_config_mode": f"stat -c 0%a {CONFIG} 2>/dev/null; true",
    "docker_swarm": f"{_ROOT}test -s \"$root/swarm/docker-state.json\"",
    "docker_packages": (
        "dpkg-query -W -f='${db:Status-Abbrev}\\t${Package}\\t${Version}\\n' "
        f"{' '.join(PACKAGES)} 2>/dev/null; true"
    ),
    "docker_programs": (
        "for p in dockerd docker; do f=$(command -v $p) || continue; f=$(readlink -f \"$f\"); "
        "printf '%s\\t%s\\t%s\\t%s\\n' $p \"$f\" \"$(dpkg -S \"$f\" 2>/dev/null | head -n 1 | cut -d: -f1)\" "
        "\"$(head -c 2 \"$f\" | tr -d '\\0')\"; done; true"
    ),
    "docker_says": "timeout 10 docker --version 2>/dev/null | head -n 1 | cut -c1-200; true",
    "docker_daemons": _DAEMONS,
    "docker_containers": _ROOT + _containers("$root"),
    "docker_snap": f"[ -d /snap/docker ] || [ -d /var/snap/docker ] || exit 1; {_containers(_SNAP_ROOT)}",
    "docker_podman": (
        "[ -e /usr/share/doc/podman-docker ] && timeout 10 podman ps --all --format '{{.Names}}' 2>/dev/null; true"
    ),
    "docker_info": INFO,
    "docker_masked": (
        "for u in docker.service docker.socket containerd.service; do "
        # A package that was removed leaves its unit masked, and its successor's installation unmasks it.
        '[ "$(systemctl is-enabled $u 2>/dev/null)" != masked ] || '
        "[ -e /var/lib/systemd/deb-systemd-helper-masked/$u ] || echo $u; done; true"
    ),
    "docker_elsewhere": (
        '[ -z "$DOCKER_HOST" ] || echo "DOCKER_HOST=$DOCKER_HOST"; '
        "sed -n 's/.*\"currentContext\"[^\"]*\"\\([^\"]*\\)\".*/\\1/p' /root/.docker/config.json 2>/dev/null "
        '| grep -vx default | sed "s/^/the context /"; true'
    ),
    "docker_namespaces": "ls /run/containerd/io.containerd.runtime.v2.task 2>/dev/null; true",
    "docker_drivers": (
        f'{_ROOT}for d in "$root"/image/*/imagedb; do [ -d "$d" ] && basename "${{d%/imagedb}}"; done; true'
    ),
    "docker_paused": f"test -e {PAUSED}",
}  # fmt: skip


def parse_version(text: str) -> tuple[int, ...] | None:
    """The numbers in `Docker version 26.1.5+dfsg1, build a72d7cd`: (26, 1, 5); None where there are none."""
    found = re.search(r"version (\d+(?:\.\d+)*)", text)
    return tuple(int(part) for part in found.group(1).split(".")) if found else None


def parse_config(raw: bytes) -> str:
    """The text of daemon.json: like dockerd (26.1.5 was tried) with a byte order mark of UTF-8 or UTF-16."""
    for mark, encoding in (
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if raw.startswith(mark):
            return raw.decode(encoding, errors="replace")
    return raw.decode(errors="replace")


def parse_containers(lines: Iterable[str]) -> tuple[Container, ...]:
    """Lines of name, running, Compose project and vanishing: `web\\t1\\t\\t0`."""
    found = []
    for line in lines:
        name, running, project, vanishes = (*line.split("\t"), "", "", "")[:4]
        if name:
            found.append(Container(name, running == "1", project in PROJECTS, vanishes == "1"))
    return tuple(found)


def parse_programs(lines: Iterable[str]) -> dict[str, Program]:
    """Lines of program, path, package and first two bytes: `docker\\t/usr/bin/docker\\tpodman-docker\\t#!`."""
    found = {}
    for line in lines:
        name, path, package, start = (*line.split("\t"), "", "", "")[:4]
        found[name] = Program(path, package or None, start == "#!")
    return found


def parse_daemons(lines: Iterable[str]) -> tuple[Daemon, ...]:
    """Lines of user id, program and command line, with tabs between: `0\\t/usr/sbin/dockerd\\tdockerd\\t-H\\tfd://`."""
    found = []
    for line in lines:
        uid, program, *command = (*line.split("\t"), "")
        # A process that ends under the look has no program any more.
        if uid.isdigit() and program:
            found.append(Daemon(int(uid), program, tuple(word for word in command[1:] if word)))
    return tuple(found)


def parse_live_restore(info: str) -> bool | None:
    """Whether dockerd leaves containers at work when it stops, of `INFO`; None where it did not answer."""
    try:
        found = json.loads(info)["LiveRestoreEnabled"]
    except (ValueError, TypeError, KeyError):
        return None
    return found if isinstance(found, bool) else None


def parse_docker(answers: Mapping[str, Section]) -> DockerState:
    """The answers to QUESTIONS as one value."""

    def lines(name: str) -> list[str]:
        return [line for line in answers[name].output.splitlines() if line.strip()] if name in answers else []

    release = dict(line.split("=", 1) for line in lines("docker_release") if "=" in line)
    config, programs = answers["docker_config"], parse_programs(lines("docker_programs"))
    packages = parse_installed(answers["docker_packages"].output)
    return DockerState(
        os=release.get("ID", "").strip('"'),
        os_version=release.get("VERSION_ID", "").strip('"'),
        codename=release.get("VERSION_CODENAME", "").strip('"'),
        arch=answers["docker_arch"].line,
        version=parse_version(answers["docker_version"].output),
        config=parse_config(base64.b64decode(config.output)) if config.status == 0 else None,
        swarm=answers["docker_swarm"].status == 0,
        packages=packages,
        takes_along=tuple(name for name in lines("docker_along") if name not in packages),
        dockerd=programs.get("dockerd"),
        docker=programs.get("docker"),
        says="".join(lines("docker_says")[:1]),
        daemons=parse_daemons(lines("docker_daemons")),
        containers=parse_containers(lines("docker_containers")),
        snap=parse_containers(lines("docker_snap")) if answers["docker_snap"].status == 0 else None,
        podman=tuple(lines("docker_podman")),
        live_restore=parse_live_restore(answers["docker_info"].output) if "docker_info" in answers else None,
        masked=tuple(lines("docker_masked")),
        elsewhere=" and ".join(lines("docker_elsewhere")),
        namespaces=tuple(lines("docker_namespaces")),
        drivers=tuple(lines("docker_drivers")),
        paused=answers["docker_paused"].status == 0,
        config_mode=mode if (mode := "".join(lines("docker_config_mode"))) in _MODES else "0644",
    )


def questions(exchanges: bool) -> dict[str, str]:
    """The questions; `exchanges`: also what would go along with packages that Docker's own replace."""
    return QUESTIONS | ({"docker_along": _ALONG} if exchanges else {})


class Docker(FactBase[DockerState]):
    """What the docker role decides on, without asking dockerd, which may not run.

    + exchanges: whether Docker's own packages are to replace the distribution's

    Returns: DockerState("debian", "13", "trixie", "amd64", (26, 1, 5), '{"live-restore": true}', …)
    """

    def command(self, exchanges: bool = False) -> str:
        return Question.of(questions(exchanges))

    def process(self, output: list[str]) -> DockerState:
        return parse_docker(split(output))
