"""What Ingot has left on a host, and what of others stands beside it, in one command."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from pyinfra.api.facts import FactBase

from ingot.facts.dcgm import UNIT, UNIT_FILE
from ingot.facts.engine import PROJECT as ENGINE_PROJECT
from ingot.facts.filter import PROJECT as FILTER_PROJECT
from ingot.facts.gateway import ACME_NAME, TLS_DIRECTORY
from ingot.facts.group import SETTINGS as GROUP
from ingot.facts.group import hosts_of
from ingot.facts.models import MADE, MARKER, SET_ASIDE
from ingot.facts.monitoring import DEFAULTS, MONITOR_DIRECTORY
from ingot.facts.nginx_sites import CONFIGURATION, GUEST, GUEST_FIRST, NGINX_KEPT
from ingot.facts.packages import BEFORE, CHANGED_SOURCES
from ingot.facts.sections import Section, compose, split

#: Ingot's own directories, and those of the certificate that it has issued, as patterns of the shell.
PATHS = (
    "/etc/ingot",
    "/etc/nginx/ingot",
    "/var/lib/ingot",
    "/run/ingot/filter",
    "/run/ingot-request-bodies",
    "/run/ingot-metrics",
    MONITOR_DIRECTORY,
    f"/etc/letsencrypt/*/{ACME_NAME}",
    f"/etc/letsencrypt/renewal/{ACME_NAME}.conf",
)
#: Files of Ingot's in directories that others write to as well: a name is no proof there, its words in the file are.
SHARED_PATHS = (
    "/etc/tmpfiles.d/ingot-*",
    "/etc/logrotate.d/ingot*",
    "/etc/modprobe.d/ingot-*",
    "/etc/modules-load.d/ingot-*",
    "/etc/letsencrypt/renewal-hooks/*/ingot*",
    "/etc/systemd/system/*.d/ingot*.conf",
    *DEFAULTS.values(),
    UNIT_FILE,
    "/etc/prometheus/*.yml",
    "/etc/prometheus/rules/ingot.yml",
)
#: What belongs to the driver, and stays with it.
APT_PATHS = (
    "/etc/apt/apt.conf.d/51ingot-*",
    "/etc/apt/preferences.d/ingot-*",
    "/etc/apt/sources.list.d/ingot-*",
)
#: What no other can read, and what a thief of the disk would want.
SECRETS = (
    f"{TLS_DIRECTORY}/key.pem",
    "/etc/ingot/monitoring/tls/key.pem",
    f"{MONITOR_DIRECTORY}/key.pem",
    "/etc/ingot/docker/proxy.env",
    "/etc/ingot/bundle/pair.pem",
    "/etc/nginx/ingot/*.map",
    "/etc/nginx/ingot/pair.pem",
    f"/etc/letsencrypt/archive/{ACME_NAME}/privkey*.pem",
)
#: What Ingot's long work on a host wrote, its own removal included.
LOGS = "/var/log/ingot"
#: There from before Docker is removed until its data are: what lies in it was seen to be nobody else's.
DOCKER_GOES = "/var/lib/ingot/docker-goes"
#: References of the images that Ingot has loaded or pulled: those that were not there when it looked.
IMAGES = "/var/lib/ingot/engine/images"
#: daemon.json as it was before Ingot changed it, empty where there was none, and the digest of what Ingot wrote last.
CONFIG_BEFORE = "/var/lib/ingot/docker-before.json"
CONFIG_WRITTEN = "/var/lib/ingot/docker-written"
#: There where Ingot has stopped the snap's Docker.
SNAP_STOPPED = "/var/lib/ingot/docker-snap-stopped"
#: Compose projects of Ingot's; others may begin with its name, too.
PROJECTS = (ENGINE_PROJECT, FILTER_PROJECT)
_PROJECT = "com.docker.compose.project"
_WRITTEN = "^(#|//|Explanation:) ?[Ww]ritten by Ingot"
#: Shell function: programs that have a GPU open, each with its pid, but for NVIDIA's own and those of the containers
#: whose ids it is given. One that ends meanwhile is none.
GPU_USERS = """users_of_gpus() {
  find /proc/[0-9]*/fd -lname '/dev/nvidia*' 2>/dev/null | cut -d/ -f3 | sort -nu | while read -r pid; do
    { read -r name <"/proc/$pid/comm"; } 2>/dev/null || continue
    case $name in nvidia-persiste* | nv-fabricmanage* | nvidia-smi) continue ;; esac
    for id; do ! grep -qs "$id" "/proc/$pid/cgroup" || continue 2; done
    echo "$name (pid $pid)"
  done
}
"""


@dataclass(frozen=True, slots=True)
class Footprint:
    """One look. Containers by name; images by id; sites are nginx' of somebody else.

    `models` are directories that Ingot has made, those of unfinished transfers among them; `others_models` are
    directories that were there before Ingot verified what is in them, and the one where it put others' files aside.
    `before` are packages and directories that were there before Ingot; None where nothing tells.
    `docker_config` is "as written" where Ingot has written daemon.json and nobody has since, "changed" where somebody
    has, else empty; `snap_stopped` that Ingot has stopped the snap's Docker.
    `switched_off` are files of others in which Ingot switched a package source off, each with that source's name;
    `edited` are those among them that somebody has changed since.
    `nginx_kept`: Ingot put its nginx.conf in place of another, and has that; `nginx_guests` are its parts of others'.
    `gpu_users` are programs of others that have a GPU open, each with its pid.
    `group` are the hosts with which it serves one replica, itself among them; none where it serves alone.
    `docker` says whether dockerd answered, `others` what of somebody else's is in it (containers, volumes, images),
    `docker_goes` that an earlier run was cut off while it removed Docker.
    """

    docker: bool = False
    containers: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    apt_paths: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    others_models: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    before: frozenset[str] | None = None
    switched_off: tuple[tuple[str, str], ...] = ()
    edited: tuple[tuple[str, str], ...] = ()
    docker_goes: bool = False
    docker_config: str = ""
    snap_stopped: bool = False
    nginx_is_ours: bool = False
    nginx_kept: bool = False
    nginx_guests: tuple[str, ...] = ()
    logs: bool = False
    sites: tuple[str, ...] = ()
    gpu_users: tuple[str, ...] = ()
    group: tuple[str, ...] = ()


def parse_footprint(answers: Mapping[str, Section]) -> Footprint:
    """The answers to the questions of `FootprintLook`."""

    def lines(name: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(line for line in answers[name].output.splitlines() if line.strip()))

    def cells(name: str) -> list[list[str]]:
        # Where Docker is not, what the shell says of that is no answer.
        return [line.split("\t") for line in lines(name)] if answers["docker"].status == 0 else []

    changed = [line.split("\t") for line in lines("switched_off") if line.count("\t") == 2]
    ours = {name: image for name, image, project in cells("containers") if project in PROJECTS}
    others = [f"container {name}" for name, *_ in cells("containers") if name not in ours]
    others += [f"volume {name}" for name, *_ in cells("volumes")]
    images = {image: name for image, name in cells("images")}  # noqa: C416
    mine = set(ours.values()) | set(lines("known_images"))
    kept = {image: name for image, name in images.items() if image not in mine}
    others += [f"image {name if '<none>' not in name else image[:19]}" for image, name in kept.items()]
    return Footprint(
        docker=answers["docker"].status == 0,
        containers=tuple(ours),
        networks=lines("networks") if answers["docker"].status == 0 else (),
        images=tuple(image for image in images if image in mine),
        others=tuple(others),
        units=lines("units"),
        paths=lines("paths"),
        apt_paths=lines("apt_paths"),
        secrets=lines("secrets"),
        models=lines("models"),
        others_models=tuple(path for path in lines("others_models") if path not in lines("models")),
        packages=lines("packages"),
        before=frozenset(lines("before")) if answers["before"].status == 0 else None,
        switched_off=tuple((name, path) for state, name, path in changed if state == "as made"),
        edited=tuple((name, path) for state, name, path in changed if state == "edited"),
        docker_goes=answers["docker_goes"].status == 0,
        docker_config=answers["docker_config"].line,
        snap_stopped=answers["snap_stopped"].status == 0,
        nginx_is_ours=answers["nginx"].status == 0,
        nginx_kept="nginx_kept" in answers and answers["nginx_kept"].status == 0,
        nginx_guests=lines("nginx_guests") if "nginx_guests" in answers else (),
        logs=answers["logs"].status == 0,
        sites=lines("sites"),
        gpu_users=lines("gpu_users") if "gpu_users" in answers else (),
        group=hosts_of(answers["group"].output) if "group" in answers else (),
    )


class FootprintLook(FactBase[Footprint]):
    """Everything of Ingot's on a host; `cache_root` is where its models lie.

    Returns: Footprint(docker=True, containers=("ingot-engine-qwen3-0",), networks=("ingot-engine",), …)
    """

    def command(self, cache_root: str) -> str:
        def listed(patterns: tuple[str, ...]) -> str:
            return f'for f in {" ".join(patterns)}; do [ ! -e "$f" ] && [ ! -L "$f" ] || echo "$f"; done'

        def written(patterns: tuple[str, ...]) -> str:
            return f"grep -lsE '{_WRITTEN}' {' '.join(patterns)}"

        root = shlex.quote(cache_root)
        projects = " ".join(f"--filter label={_PROJECT}={project}" for project in PROJECTS)
        return compose(
            {
                "docker": "timeout 30 docker version --format '{{.Server.Version}}'",
                "containers": "docker ps -aq --no-trunc | xargs -r docker inspect --format "
                f"'{{{{.Name}}}}\t{{{{.Image}}}}\t{{{{index .Config.Labels \"{_PROJECT}\"}}}}' | sed 's|^/||'",
                "networks": f"docker network ls --format '{{{{.Name}}}}\t{{{{.Label \"{_PROJECT}\"}}}}' "
                f"| awk -F'\\t' '$2 ~ /^({'|'.join(PROJECTS)})$/ {{ print $1 }}'",
                "volumes": "docker volume ls -q",
                "images": "docker image ls --no-trunc --format '{{.ID}}\t{{.Repository}}:{{.Tag}}'",
                "known_images": f"docker image inspect --format '{{{{.Id}}}}' $(cat {IMAGES}) 2>/dev/null",
                "units": "cd /etc/systemd/system && grep -lsE '^(# Written by Ingot|Description=Ingot:)' ingot-*",
                "paths": f"{listed(PATHS)}; {written(SHARED_PATHS)}",
                # A key has no words of its own: it is the one that a source of Ingot's names.
                "apt_paths": f'{written(APT_PATHS[-1:])} | xargs -r awk \'$1 == "Signed-By:" && '
                '$2 ~ "^/etc/apt/keyrings/ingot-" { print $2 }\' | sort -u; '
                f"{written(APT_PATHS)}",
                "secrets": f"ls {' '.join(SECRETS)} 2>/dev/null",
                "models": f"find {root}/ -mindepth 1 -maxdepth 5 -name {MADE} -type f -printf '%h\\n' 2>/dev/null "
                f'| while read -r d; do as=$(cat "$d/{MADE}"); case "$d" in '
                '"$as" | "$as.incomplete" | "$as.incoming") echo "$d" ;; esac; done',
                "others_models": f"find {root}/ -mindepth 1 -maxdepth 5 '(' -name {MARKER} -printf '%h\\n' ')' "
                f"-o -path {root}/{SET_ASIDE} -print 2>/dev/null",
                "packages": "dpkg-query -W -f='${db:Status-Abbrev}\\t${Package}\\n' | "
                "awk -F'\\t' '$1 !~ /^.[nc]/ { print $2 }'",
                "before": f"cat {BEFORE}",
                # What was/ holds is put back where a file is still as it is in now/.
                "switched_off": f'cd {CHANGED_SOURCES} 2>/dev/null && for n in *; do [ -d "$n/was" ] || continue; '
                '(cd "$n/was" && find . "(" -type f -o -type l ")" | cut -c2-) | while read -r f; do state=edited; '
                '[ ! -L "$f" ] && cmp -s "$n/now$f" "$f" && state="as made"; '
                'printf "%s\\t%s\\t%s\\n" "$state" "$n" "$f"; done; done',
                "docker_goes": f"test -e {DOCKER_GOES}",
                "docker_config": f"[ ! -e {CONFIG_BEFORE} ] || {{ "
                f'[ "$(sha256sum </etc/docker/daemon.json 2>/dev/null | cut -c1-64)" = "$(cat {CONFIG_WRITTEN})" ] && '
                "echo as written || echo changed; }",
                "snap_stopped": f"test -e {SNAP_STOPPED}",
                "nginx": f"grep -q '^# Written by Ingot' {CONFIGURATION}",
                "nginx_kept": f"test -e {NGINX_KEPT}{CONFIGURATION}",
                "nginx_guests": written(
                    tuple(f"/etc/nginx/{at}{name}" for at in ("", "*/") for name in (GUEST_FIRST, GUEST))
                ),
                "group": f"cat {GROUP} 2>/dev/null",
                "logs": f"test -e {LOGS}",
                "gpu_users": f"{GPU_USERS}users_of_gpus $(docker ps -q --no-trunc {projects} 2>/dev/null) "
                f"$(grep -qs '^# Written by Ingot' {UNIT_FILE} && echo {UNIT}.service)",
                "sites": "find /etc/nginx/sites-enabled /etc/nginx/conf.d -mindepth 1 ! -name default 2>/dev/null",
            }
        )

    @staticmethod
    def default() -> Footprint:
        return Footprint()

    def process(self, output: list[str]) -> Footprint:
        return parse_footprint(split(output))
