"""What a role must know of a host before anything changes: OS, space, clock, package manager, ports, GPUs."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pyinfra.api.facts import FactBase

from ingot.facts import docker, driver, nginx_sites, nvidia, pci
from ingot.facts import hardware as hardware_facts
from ingot.facts.archive import field_of
from ingot.facts.docker import DockerState, parse_docker
from ingot.facts.driver import DriverState, parse_driver
from ingot.facts.engine import parse_stored, stored
from ingot.facts.errors import ParseError, Unread
from ingot.facts.hardware import HardwareSeen, parse_hardware
from ingot.facts.nginx_sites import ForeignNginx, parse_foreign
from ingot.facts.nvidia import GpuReport, parse_memory, reported
from ingot.facts.packages import SOURCE_QUESTIONS, DescribedSources, parse_described
from ingot.facts.sections import Question, Section, answer, split, taken_at

_WHOSE = ("listener_groups", "published")
# Asked last: what comes before it may take seconds, and the control machine's clock is read when all is answered.
CLOCK = "date +%s.%N"

#: Has apt read its sources, and neither its lists nor its cache of packages, as `read_sources` of sources.sh does.
READ_SOURCES = (
    "apt-get indextargets -o Dir::State::lists=/nonexistent/ -o Dir::State::status=/dev/null -o Dir::Cache::pkgcache= "
    "-o Dir::Cache::srcpkgcache="
)

#: Who holds the package manager: pid and name, or nothing.
# fcntl locks, as apt takes them: flock(1) would not see them, /proc/locks does.
APT_LOCK = (
    "for f in /var/lib/dpkg/lock-frontend /var/lib/dpkg/lock /var/lib/apt/lists/lock; do "
    'i=$(stat -c %i "$f" 2>/dev/null) || continue; '
    "p=$(awk -v i=\":$i\" 'substr($6, length($6)-length(i)+1) == i {print $5; exit}' /proc/locks); "
    '[ -n "$p" ] && echo "$p $(cat /proc/$p/comm 2>/dev/null)" && break; done; true'
)


#: How /tmp is mounted, where it is a mount of its own: the last of several is the one that is seen.
TMP_OPTIONS = "awk '$5 == \"/tmp\" { options = $6 } END { print options }' /proc/self/mountinfo"


@dataclass(frozen=True, slots=True)
class Space:
    """Free room below a path, where its nearest existing parent lives: bytes and inodes."""

    path: str
    free_bytes: int
    free_inodes: int
    mount: str


@dataclass(frozen=True, slots=True)
class Mount:
    """The file system that a path is on, or will be on: where it is mounted, and with which options."""

    path: str
    target: str
    options: frozenset[str]


@dataclass(frozen=True, slots=True)
class Listener:
    """A process that listens on a TCP port."""

    address: str
    process: str


@dataclass(frozen=True, slots=True)
class HostState:
    """One look at a host. `clock_skew_s` is host minus control machine, in seconds."""

    uid: int
    driver: DriverState
    gpus: GpuReport
    memory_bytes: int
    spaces: tuple[Space, ...]
    clock_skew_s: float
    apt_holder: str | None = None
    broken_packages: tuple[str, ...] = ()
    #: Packages that `dpkg --configure -a` finishes.
    unfinished_packages: tuple[str, ...] = ()
    tmp_options: frozenset[str] = frozenset()
    listeners: tuple[Listener, ...] = ()
    has_apt: bool = True
    is_deployed: bool = False
    hardware: HardwareSeen | None = None
    docker: DockerState | None = None
    #: The release's name, as package repositories have it.
    codename: str = ""
    described: DescribedSources = field(default_factory=DescribedSources)
    #: Why apt reads none of its sources; empty where it reads them.
    apt_fault: str = ""
    nginx: ForeignNginx = field(default_factory=ForeignNginx)
    #: The file systems that the asked paths are on, and the mounts of /etc/fstab that are not there.
    mounts: tuple[Mount, ...] = ()
    unmounted: tuple[str, ...] = ()
    #: The engine's plan and measurements, by the names of their files.
    stored: Mapping[str, Any] = field(default_factory=dict)


def _questions(paths: Sequence[str], ports: Sequence[int]) -> dict[str, str]:
    quoted = " ".join(shlex.quote(path) for path in paths)
    sockets = " or ".join(f"sport = :{port}" for port in ports)
    return {
        "uid": "id -u",
        "deployed": "[ -e /var/lib/ingot/plan.json ]",
        "files": stored("plan.json", "measured.json", "schema.json"),
        "spaces": (
            f'for p in {quoted}; do q=$p; while [ ! -e "$q" ]; do q=$(dirname "$q"); done; '
            'printf "%s\\t%s\\n" "$p" "$(df -B1 --output=avail,iavail,target "$q" | tail -n 1)"; done'
        ),
        # A path that is a mount point of its own is asked as such: automount mounts it only then.
        "mounts": (
            f'for p in {quoted}; do q=$p; while [ ! -e "$q" ]; do q=$(dirname "$q"); done; '
            'printf "%s\\t%s\n" "$p" "$(findmnt -rn -o TARGET,OPTIONS --target "$q" | tail -n 1)"; done'
        ),
        "unmounted": (
            "awk '$1 !~ /^#/ && $2 ~ /^\\/./ && $3 != \"swap\" && $4 !~ /noauto/ { print $2 }' /etc/fstab 2>/dev/null "
            '| while read -r m; do mountpoint -q "$m" || echo "$m"; done'
        ),
        "apt_lock": APT_LOCK,
        "apt": "command -v apt-get && command -v dpkg-query",
        # H half installed, R reinstall needed; U unpacked, F half configured, W and t waiting for triggers.
        "broken": "dpkg-query -W -f='${db:Status-Abbrev}\\t${Package}\\n' 2>/dev/null | grep -E '^(.H|..R)'; true",
        "unfinished": "dpkg-query -W -f='${db:Status-Abbrev}\\t${Package}\\n' 2>/dev/null | grep -E '^.[UFWt] '; true",
        "tmp": TMP_OPTIONS,
        "apt_fault": f"command -v apt-get >/dev/null || exit 0; said=$({READ_SOURCES} 2>&1 >/dev/null) || "
        'printf "%s\\n" "$said" | grep -m 1 "^E: " || echo "E: apt-get indextargets failed"',
        **SOURCE_QUESTIONS,
        "listeners": f"command -v ss >/dev/null && ss -Hltnp '{sockets}'; true",
        # A container's or a shell's nginx is another one than that of nginx.service.
        "listener_groups": f"ss -Hltnp '{sockets}' 2>/dev/null | grep -o 'pid=[0-9]*' | cut -d= -f2 | sort -u | "
        'while read -r p; do echo "$p $(tail -n 1 /proc/$p/cgroup)"; done',
        "published": "command -v docker >/dev/null && timeout 10 docker ps --format '{{.Names}}\\t{{.Ports}}'; true",
        **nginx_sites.QUESTIONS,
    }


class HostLook(FactBase[HostState | Unread]):
    """Everything preflight judges, in one command.

    + paths: where room is needed
    + ports: the TCP ports the gateway will listen on
    + exchanges: also look at what an exchange of Docker's packages would take along
    + hardware: also look at what the server was ordered with

    Returns: HostState(uid=0, driver=DriverState(…), gpus=GpuReport(…), memory_bytes=135025704960, …)
    """

    def command(
        self, paths: Sequence[str], ports: Sequence[int], hardware: bool = False, exchanges: bool = False
    ) -> str:
        questions = _questions(paths, ports) | driver.QUESTIONS | nvidia.QUESTIONS | {"pci": pci.QUESTION}
        questions |= docker.questions(exchanges)
        if hardware:
            questions |= hardware_facts.QUESTIONS
        return Question.of(questions | {"clock": CLOCK}, last=("clock",))

    @staticmethod
    def default() -> HostState | Unread:
        return Unread()

    def process(self, output: Iterable[str]) -> HostState | Unread:
        try:
            sections = split(output)
            return parse_host(sections, taken_at(sections) or time.time())
        except ParseError as error:
            return Unread(str(error))


def parse_host(sections: Mapping[str, Section], now: float) -> HostState:
    """The answers of one look; `now` is the control machine's clock.

    Raises: ParseError when an answer that every Linux gives is missing or unreadable.
    """

    def optional(name: str) -> str:
        return sections[name].output if name in sections else ""

    memory = parse_memory(answer(sections, "memory").output)
    if memory is None:
        raise ParseError("/proc/meminfo has no MemTotal and MemAvailable.")
    lock = answer(sections, "apt_lock").line.split()
    return HostState(
        uid=_number(answer(sections, "uid").line, "id -u"),
        driver=parse_driver(sections),
        gpus=reported(sections),
        memory_bytes=memory[0],
        spaces=parse_spaces(answer(sections, "spaces").output),
        mounts=parse_mounts(optional("mounts")),
        unmounted=tuple(line.strip() for line in optional("unmounted").splitlines() if line.startswith("/")),
        clock_skew_s=_seconds(answer(sections, "clock").line) - now,
        apt_holder=f"{' '.join(lock[1:]) or 'a process'} (pid {lock[0]})" if lock else None,
        broken_packages=_packages(answer(sections, "broken").output),
        unfinished_packages=_packages(answer(sections, "unfinished").output),
        tmp_options=frozenset(answer(sections, "tmp").line.split(",")),
        listeners=parse_listeners(answer(sections, "listeners").output, *map(optional, _WHOSE)),
        nginx=parse_foreign(*map(optional, nginx_sites.QUESTIONS)),
        has_apt=answer(sections, "apt").status == 0,
        is_deployed=answer(sections, "deployed").status == 0,
        hardware=parse_hardware(sections) if "disks" in sections else None,
        docker=parse_docker(sections),
        stored=parse_stored(sections),
        codename=field_of(answer(sections, "os_release").output, "VERSION_CODENAME"),
        described=parse_described(optional),
        apt_fault=optional("apt_fault").strip().partition("\n")[0].removeprefix("E: "),
    )


def _packages(text: str) -> tuple[str, ...]:
    """Lines of a status, a tab and a package."""
    return tuple(line.split("\t")[1] for line in text.splitlines() if "\t" in line)


def parse_spaces(text: str) -> tuple[Space, ...]:
    """Lines of a path, a tab and df's free bytes, free inodes and mount; btrfs counts no inodes and has endless ones.

    Raises: ParseError when a line is not one.
    """
    spaces = []
    for line in text.splitlines():
        match = re.match(r"^(/[^\t]*)\t\s*([0-9]+)\s+([0-9]+|-)\s+(\S.*)$", line.strip())
        if not match:
            raise ParseError(f"df printed {line[:80]!r}, expected path, free bytes, free inodes and mount.")
        path, free, inodes, mount = match.groups()
        spaces.append(Space(path, int(free), 1 << 62 if inodes in ("-", "0") else int(inodes), mount))
    return tuple(spaces)


def parse_mounts(text: str) -> tuple[Mount, ...]:
    """Lines of a path, a tab, and findmnt's target and options; a path that findmnt does not know is left out."""
    found = []
    for line in text.splitlines():
        path, _, said = line.strip().partition("\t")
        target, _, options = said.rpartition(" ")
        if path.startswith("/") and target.startswith("/"):
            found.append(Mount(path, target, frozenset(options.split(","))))
    return tuple(found)


def parse_listeners(text: str, groups: str = "", published: str = "") -> tuple[Listener, ...]:
    """The sockets that `ss -Hltnp` prints, with the first process of each.

    `groups` are lines of a pid and its control group, `published` of a container and its ports.
    """
    group_of = {pid: group for pid, _, group in (line.partition(" ") for line in groups.splitlines())}
    found = []
    for line in text.splitlines():
        cells = line.split()
        if len(cells) >= 4 and cells[0] == "LISTEN":
            process = re.search(r'users:\(\("([^"]+)",pid=([0-9]+)', line)
            name = process.group(1) if process else "unknown"
            group = group_of.get(process.group(2), "") if process else ""
            found.append(Listener(cells[3], _whose(name, group, cells[3].rpartition(":")[2], published)))
    return tuple(found)


def _whose(process: str, group: str, port: str, published: str) -> str:
    # By the second one figures leave the host; the third serves a bundle.
    ours = ("/nginx.service", "/ingot-monitoring.service", "/ingot-bundle.service")
    if process == "nginx" and group and not group.endswith(ours):
        return "an nginx that nginx.service has not started"
    if process in ("docker-proxy", "dockerd"):
        for container, _, ports in (line.partition("\t") for line in published.splitlines()):
            if f":{port}->" in ports:
                return f"{process} for container {container}"
    return process


def _number(text: str, what: str) -> int:
    if not re.match(r"^[0-9]{1,10}$", text):
        raise ParseError(f"{what} printed {text[:40]!r}, expected a number.")
    return int(text)


def _seconds(text: str) -> float:
    if not re.match(r"^[0-9]{1,12}(\.[0-9]{1,9})?$", text):
        raise ParseError(f"date printed {text[:40]!r}, expected seconds since 1970.")
    return float(text)
