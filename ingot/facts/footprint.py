"""What Ingot has left on a host, and what of others stands beside it, in one command."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from pyinfra.api.facts import FactBase

from ingot.facts.gateway import ACME_NAME, CONFIGURATION, TLS_DIRECTORY
from ingot.facts.sections import Section, compose, split

#: Where Ingot's own files lie, as patterns of the shell.
PATHS = (
    "/etc/ingot",
    "/etc/nginx/ingot",
    "/var/lib/ingot",
    "/run/ingot-*",
    "/run/ingot/filter",
    "/etc/tmpfiles.d/ingot-*",
    "/var/log/nginx/ingot-*",
    "/etc/logrotate.d/ingot*",
    "/etc/modprobe.d/ingot-*",
    f"/etc/letsencrypt/*/{ACME_NAME}",
    f"/etc/letsencrypt/renewal/{ACME_NAME}.conf",
    "/etc/letsencrypt/renewal-hooks/*/ingot*",
    "/etc/systemd/system/*.d/ingot*.conf",
)
#: What belongs to the driver, and stays with it.
APT_PATHS = (
    "/etc/apt/apt.conf.d/51ingot-*",
    "/etc/apt/keyrings/ingot-*",
    "/etc/apt/preferences.d/ingot-*",
    "/etc/apt/sources.list.d/ingot-*",
)
#: What no other can read, and what a thief of the disk would want.
SECRETS = (
    f"{TLS_DIRECTORY}/key.pem",
    "/etc/nginx/ingot/*.map",
    "/etc/nginx/ingot/pair.pem",
    f"/etc/letsencrypt/archive/{ACME_NAME}/privkey*.pem",
)
#: What Ingot's long work on a host wrote, its own removal included.
LOGS = "/var/log/ingot"
#: There from before Docker is removed until its data are: what lies in it was seen to be nobody else's.
DOCKER_GOES = "/var/lib/ingot/docker-goes"
_PROJECT = "com.docker.compose.project"
_MARKER = ".ingot-verified.json"


@dataclass(frozen=True, slots=True)
class Footprint:
    """One look. Containers by name; images by id; sites are nginx' of somebody else; models are directories.

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
    packages: tuple[str, ...] = ()
    docker_goes: bool = False
    nginx_is_ours: bool = False
    logs: bool = False
    sites: tuple[str, ...] = ()


def parse_footprint(answers: Mapping[str, Section]) -> Footprint:
    """The answers to the questions of `FootprintLook`."""

    def lines(name: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(line for line in answers[name].output.splitlines() if line.strip()))

    ours = {cells[0]: cells[1] for line in lines("containers") if (cells := line.split("\t"))[2].startswith("ingot-")}
    others = [f"container {cells[0]}" for line in lines("containers") if (cells := line.split("\t"))[0] not in ours]
    others += [f"volume {name}" for name in lines("volumes")]
    images = dict(line.split("\t") for line in lines("images"))
    mine = set(ours.values()) | set(lines("known_images"))
    kept = {image: name for image, name in images.items() if image not in mine}
    others += [f"image {name if '<none>' not in name else image[:19]}" for image, name in kept.items()]
    return Footprint(
        docker=answers["docker"].status == 0,
        containers=tuple(ours),
        networks=lines("networks"),
        images=tuple(image for image in images if image in mine),
        others=tuple(others),
        units=lines("units"),
        paths=lines("paths"),
        apt_paths=lines("apt_paths"),
        secrets=lines("secrets"),
        models=lines("models"),
        packages=lines("packages"),
        docker_goes=answers["docker_goes"].status == 0,
        nginx_is_ours=answers["nginx"].status == 0,
        logs=answers["logs"].status == 0,
        sites=lines("sites"),
    )


def repository(image: str) -> str:
    """An image's name without tag and digest."""
    name = image.partition("@")[0]
    return name if "/" in name.rpartition(":")[2] else name.rpartition(":")[0] or name


class FootprintLook(FactBase[Footprint]):
    """Everything of Ingot's on a host; `image` is the one that its values name, `cache_root` where its models lie.

    Returns: Footprint(docker=True, containers=("ingot-engine-qwen3-0",), networks=("ingot-engine",), …)
    """

    def command(self, image: str, cache_root: str) -> str:
        def listed(patterns: tuple[str, ...]) -> str:
            return f'for f in {" ".join(patterns)}; do [ ! -e "$f" ] && [ ! -L "$f" ] || echo "$f"; done'

        root = shlex.quote(cache_root)
        return compose(
            {
                "docker": "timeout 30 docker version --format '{{.Server.Version}}'",
                "containers": "docker ps -aq --no-trunc | xargs -r docker inspect --format "
                f"'{{{{.Name}}}}\t{{{{.Image}}}}\t{{{{index .Config.Labels \"{_PROJECT}\"}}}}' | sed 's|^/||'",
                "networks": f"docker network ls --format '{{{{.Name}}}}\t{{{{.Label \"{_PROJECT}\"}}}}' "
                "| awk -F'\\t' '$2 ~ /^ingot-/ { print $1 }'",
                "volumes": "docker volume ls -q",
                "images": "docker image ls --no-trunc --format '{{.ID}}\t{{.Repository}}:{{.Tag}}'",
                # The one that is configured, those that were proven here, and older ones of the same name.
                "known_images": f"docker image ls --no-trunc -q {shlex.quote(repository(image))}; "
                f"docker image inspect --format '{{{{.Id}}}}' {shlex.quote(image)} "
                "$(grep -rhoE 'sha256:[0-9a-f]{64}' /var/lib/ingot/engine/last-good) 2>/dev/null",
                "units": "cd /etc/systemd/system && grep -lsE '^(# Written by Ingot|Description=Ingot:)' ingot-*",
                "paths": listed(PATHS),
                "apt_paths": listed(APT_PATHS),
                "secrets": f"ls {' '.join(SECRETS)} 2>/dev/null",
                "models": f"find {root} -mindepth 1 -maxdepth 5 -name {_MARKER} -printf '%h\\n' 2>/dev/null; "
                f"find {root} -mindepth 1 -maxdepth 4 -type d '(' -name '*.incomplete' -o -name '*.incoming' "
                "-o -name .quarantine ')' 2>/dev/null",
                "packages": "dpkg-query -W -f='${db:Status-Abbrev}\\t${Package}\\n' | "
                "awk -F'\\t' '$1 !~ /^.[nc]/ { print $2 }'",
                "docker_goes": f"test -e {DOCKER_GOES}",
                "nginx": f"grep -q '^# Written by Ingot' {CONFIGURATION}",
                "logs": f"test -e {LOGS}",
                "sites": "find /etc/nginx/sites-enabled /etc/nginx/conf.d -mindepth 1 ! -name default 2>/dev/null",
            }
        )

    @staticmethod
    def default() -> Footprint:
        return Footprint()

    def process(self, output: list[str]) -> Footprint:
        return parse_footprint(split(output))
