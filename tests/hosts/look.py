"""One command that finds out on a host what its checks want to know."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import yaml

from ingot.engines.group.firewall import CHAIN
from ingot.facts import docker as engines
from ingot.facts import driver, nvidia, pci
from ingot.facts.driver import DriverState, parse_driver
from ingot.facts.filter import HEALTH
from ingot.facts.gateway import ACME_LIVE, TLS_DIRECTORY, Running
from ingot.facts.look import LANES
from ingot.facts.models import DAMAGE, MARKER
from ingot.facts.nginx_sites import GUEST
from ingot.facts.nvidia import GpuReport, reported
from ingot.facts.packages import SOURCE_QUESTIONS, parse_described, parse_keyrings
from ingot.facts.replica_holds import HOLDS_FILE
from ingot.facts.sections import Section, side_by_side, split
from ingot.monitoring.metrics import TEXTFILE

PROJECT = "ingot-engine"
#: Anything that looks like an API key or a hub token, and those or a private key.
TOKEN = r"sk-[a-z0-9-]{1,32}-[A-Za-z0-9_-]{43}|hf_[A-Za-z0-9]{30,}"
# The brackets keep what a command looks for from being found in the journal, which has the command.
SECRET = f"{TOKEN}|PRIVATE[ ]KEY"
#: What only root may read: the map of keys, and where the key of a certificate lies by `gateway_certificate`.
KEY_MAP = "/etc/nginx/ingot/keys.map"
TLS_KEYS = {
    "internal": f"{TLS_DIRECTORY}/key.pem",
    "files": "/etc/nginx/ingot/pair.pem",
    "acme": f"{ACME_LIVE}/privkey.pem",
}
#: What Ingot made, as far as it lies in places of its own.
OURS = (
    "/etc/ingot /etc/nginx/nginx.conf /etc/nginx/ingot /var/lib/ingot /var/log/ingot /etc/apt/*/ingot-* "
    "/etc/apt/apt.conf.d/*ingot* /etc/docker/daemon.json /etc/systemd/system/ingot-* "
    "/etc/systemd/system/*/ingot.conf /etc/modprobe.d/ingot-* /etc/prometheus"
)
UNITS = (
    "docker containerd nginx ingot-engine ingot-replica-watch.timer nvidia-persistenced nvidia-fabricmanager "
    "logrotate.timer nvidia-cdi-refresh.path "
    "prometheus-node-exporter ingot-monitoring ingot-metrics.timer prometheus prometheus-alertmanager"
)
_LABEL = "--filter label=com.docker.compose.project"
#: Address and health route of each replica of a host; the route is "none" where another host of its group answers.
EACH_REPLICA = (
    'docker inspect --format \'{{with index .Config.Labels "ingot.address"}}{{.}}{{else}}'
    "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}{{end}}"
    ':{{index .Config.Labels "ingot.port"}} {{index .Config.Labels "ingot.health"}}\' '
    f"$(docker ps -aq {_LABEL}={PROJECT})"
)
_EACH_MODEL = (
    f"for c in $(docker ps -aq {_LABEL}={PROJECT} 2>/dev/null); do "
    # Below it where an engine takes the model's name from its directory.
    "docker inspect --format '{{range .Mounts}}"
    '{{if eq (printf "%.6s" .Destination) "/model"}}{{.Source}}{{end}}'
    "{{end}}' $c; "
    "done | sort -u | while read -r d; do"
)

QUESTIONS = {
    **driver.QUESTIONS,
    **nvidia.QUESTIONS,
    "pci": pci.QUESTION,
    "boot": "cat /proc/sys/kernel/random/boot_id",
    "evidence": "cat /var/lib/ingot/driver.json",
    "blocklist": "apt-config dump Unattended-Upgrade::Package-Blacklist",
    "modules": "cut -d' ' -f1 /proc/modules; modprobe --showconfig 2>/dev/null | grep '^blacklist nouveau'",
    "toolkit": "dpkg-query -W -f='${db:Status-Abbrev}\\t${Package}\\t${Version}\\n' '*nvidia-container*'",
    "keyrings": 'h=$(mktemp -d); for f in /etc/apt/keyrings/ingot-*.gpg; do [ ! -f "$f" ] || { echo "keyring $f"; '
    'gpg --homedir "$h" --batch --with-colons --show-keys "$f" 2>/dev/null; }; done; rm -rf "$h"',
    **SOURCE_QUESTIONS,
    "docker_containers": engines.QUESTIONS["docker_containers"],
    "docker": "timeout 30 docker info --format '{{json .}}' 2>/dev/null",
    "daemon": "cat /etc/docker/daemon.json",
    "bridge": "docker network inspect bridge --format '{{json .Options}}'",
    "docker_group": "getent group docker; stat -c '%U:%G %a' /run/docker.sock",
    "cdi": "for f in /etc/cdi/*.yaml /etc/cdi/*.json /var/run/cdi/*.yaml /var/run/cdi/*.json; do "
    '[ ! -f $f ] || { echo "--- # $f"; cat $f; }; done',
    "containers": f"docker inspect $(docker ps -aq {_LABEL}) 2>/dev/null",
    "networks": f"docker network inspect $(docker network ls -q {_LABEL}={PROJECT}) 2>/dev/null",
    "images": "docker image inspect "
    f"$(docker ps -aq {_LABEL}={PROJECT} | xargs docker inspect --format '{{{{.Image}}}}') 2>/dev/null",
    "inside": f"for c in $(docker ps -q {_LABEL}={PROJECT}); do "
    "docker inspect --format '== {{.Name}}' $c; timeout 60 docker exec $c nvidia-smi -L 2>&1; done",
    "models": f"{_EACH_MODEL} find \"$d\" -printf '%y\\t%s\\t%T@\\t%U\\t%m\\t%p\\n'; done",
    "markers": f'{_EACH_MODEL} printf \'%s\\t\' "$d"; tr -d "\\n" <"$d/{MARKER}"; echo; done',
    "damage": f"cat {DAMAGE} 2>/dev/null",
    "plan": "cat /var/lib/ingot/plan.json",
    "upstreams": "cat /var/lib/ingot/upstreams.json",
    "replica_holds": f"cat {HOLDS_FILE} 2>/dev/null",
    "health": f"{EACH_REPLICA} 2>/dev/null | while read -r a h; do [ $h = none ] || "
    "echo \"$a $(curl -s -o /dev/null -m 10 --noproxy '*' -w '%{http_code}' http://$a$h)\"; done",
    "nginx": "nginx -t",
    "beside": f"ls /etc/nginx/*/{GUEST} 2>/dev/null",
    "filter": HEALTH,
    "log": "tail -n 200 /var/log/ingot/gateway/access.jsonl",
    "rotation": "logrotate --debug /etc/logrotate.conf 2>&1 | grep -o '/var/log/ingot/[^ ]*[.]jsonl' | sort -u",
    "units": f'for u in {UNITS}; do echo "$u $(systemctl is-active $u) $(systemctl is-enabled $u 2>/dev/null)"; done',
    "listeners": "ss -Hltnp",
    "group_rules": f"iptables -w -S {CHAIN}; iptables -w -S OUTPUT | grep -e '-j {CHAIN}'",
    "figures_age": f"echo $(($(date +%s) - $(stat -c %Y {TEXTFILE})))",
    "figures": f"grep -E '^ingot_collector_(part_up|last_run)' {TEXTFILE}",
    "readable": f"find {OURS} -xdev -type f -perm /o=r -exec grep -lE '{SECRET}' {{}} + 2>/dev/null",
    "writable": f"find {OURS} -xdev ! -type l -perm /o=w 2>/dev/null",
    "private": f"stat -L -c '%n %U %a' /etc/nginx/ingot/*.map {' '.join(TLS_KEYS.values())} 2>/dev/null",
    # What belongs on the control machine only.
    "strangers": "find /etc /var/lib/ingot /root -xdev '(' -name ca.pem -o -name ca.key -o -name verify.key ')' "
    "2>/dev/null",
    "arguments": f"grep -aslE '{TOKEN}' /proc/[0-9]*/cmdline | while read -r f; do cat ${{f%/*}}/comm; done",
}


@dataclass(frozen=True)
class Look:
    """What the questions were answered."""

    answers: Mapping[str, Section]

    def text(self, question: str) -> str:
        return self.answers[question].output.strip()

    def lines(self, question: str) -> list[str]:
        return [line.strip() for line in self.text(question).splitlines() if line.strip()]

    def json(self, question: str, nothing: Any) -> Any:
        """An answer as JSON; `nothing` where the command was not found or had nothing to say."""
        try:
            return json.loads(self.text(question))
        except ValueError:
            return nothing

    @cached_property
    def driver(self) -> DriverState:
        return parse_driver(self.answers)

    @cached_property
    def gpus(self) -> GpuReport:
        """What the driver says of its GPUs."""
        return reported(self.answers)

    @property
    def gpu_uuids(self) -> set[str]:
        """The GPUs that answer nvidia-smi."""
        return {row.uuid for row in self.gpus.rows if row.uuid}

    @cached_property
    def evidence(self) -> dict[str, Any]:
        """What the driver role decided and recorded."""
        return dict(self.json("evidence", {}))

    @cached_property
    def shares_docker(self) -> bool:
        """Whether containers of others run by the same Docker."""
        found = self.lines("docker_containers") if "docker_containers" in self.answers else []
        return not all(one.ours for one in engines.parse_containers(found))

    @cached_property
    def docker(self) -> dict[str, Any]:
        return dict(self.json("docker", {}))

    @cached_property
    def specifications(self) -> dict[str, dict[str, Any]]:
        """The CDI specifications by their paths."""
        parts = re.split(r"^--- # (\S+)$", self.text("cdi"), flags=re.MULTILINE)
        return {path: yaml.safe_load(text) for path, text in zip(parts[1::2], parts[2::2], strict=True)}

    @property
    def cdi_devices(self) -> set[str]:
        """Devices of every CDI specification: `nvidia.com/gpu=GPU-…`."""
        return {f"{one['kind']}={device['name']}" for one in self.specifications.values() for device in one["devices"]}

    @cached_property
    def keyrings(self) -> dict[str, tuple[str, ...]]:
        """Fingerprints of the keys that Ingot's package sources are trusted with."""
        return parse_keyrings(self.text("keyrings"))

    @property
    def is_beside(self) -> bool:
        """Whether nginx is somebody else's, with the gateway beside its sites."""
        return self.answers["beside"].status == 0

    @property
    def keyrings_of_others(self) -> Mapping[str, tuple[str, ...]]:
        """What is in the keyrings that every package source names, others' descriptions among them."""
        return parse_described(self.text).keyrings

    @cached_property
    def ours(self) -> list[dict[str, Any]]:
        """Every container of a project of Ingot's."""
        label = "com.docker.compose.project"
        found = self.json("containers", [])
        return [one for one in found if str(one["Config"]["Labels"].get(label)).startswith("ingot-")]

    @property
    def engines(self) -> list[dict[str, Any]]:
        """The containers that serve models."""
        return [one for one in self.ours if one["Config"]["Labels"]["com.docker.compose.project"] == PROJECT]

    @property
    def parts(self) -> list[dict[str, Any]]:
        """The containers of this host that serve one replica together with other hosts."""
        return [one for one in self.engines if one["Config"]["Labels"].get("ingot.address")]

    @property
    def inside(self) -> dict[str, str]:
        """What nvidia-smi says inside each running engine container."""
        parts = re.split(r"^== /(.+)$", self.text("inside"), flags=re.MULTILINE)
        return dict(zip(parts[1::2], parts[2::2], strict=True))

    @property
    def replicas(self) -> list[str]:
        """Addresses of the engines that this host's own gateway was told of."""
        return sorted({address for one in self.json("upstreams", []) for address in one["replicas"]})

    @property
    def gateway_runs_what_is_installed(self) -> bool:
        return Running().process(self.answers["gateway"].output.splitlines()).as_installed

    @property
    def log(self) -> list[dict[str, Any]]:
        """The newest lines of the gateway's access log."""
        try:
            return [json.loads(line) for line in self.lines("log")]
        except ValueError:
            return []

    def unit(self, name: str) -> str:
        """`active enabled` and the like."""
        return next(line.partition(" ")[2] for line in self.lines("units") if line.startswith(f"{name} "))


def command(server: str) -> str:
    """Every question in one command; callers know the host as `server`."""
    return side_by_side({**QUESTIONS, "gateway": Running().command(server)}, LANES)


def parse_look(output: str) -> Look:
    """The answers to `command`. Raises: ParseError when they were cut off."""
    return Look(split(output.splitlines()))
