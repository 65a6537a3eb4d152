"""One command that finds out on a host what its tests want to know."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from testinfra.host import Host

from ingot.facts.sections import Section, compose, split

PROJECT = "ingot-engine"
#: Anything that looks like an API key, a hub token or a private key.
SECRET = r"sk-[a-z0-9-]{1,32}-[A-Za-z0-9_-]{43}|hf_[A-Za-z0-9]{30,}|PRIVATE KEY"
_OURS = f"--filter label=com.docker.compose.project={PROJECT}"
_MODEL = '{{range .Mounts}}{{if eq .Destination "/model"}}{{.Source}}{{end}}{{end}}'

QUESTIONS = {
    "loaded": "cat /proc/driver/nvidia/version",
    "installed": "modinfo -F version nvidia",
    # NVIDIA's display controllers (class 03), and what drives each.
    "pci": "for d in /sys/bus/pci/devices/*; do "
    'case "$(cat $d/vendor):$(cat $d/class)" in 0x10de:0x03*) '
    'echo "${d##*/} $(basename "$(readlink $d/driver)")";; esac; done',
    "smi": "timeout 60 nvidia-smi -L",
    "docker": "timeout 30 docker info --format '{{json .}}' 2>/dev/null",
    "cdi": "for f in /etc/cdi/*.yaml /etc/cdi/*.json /var/run/cdi/*.yaml /var/run/cdi/*.json; do "
    "[ ! -f $f ] || { echo '--- '; cat $f; }; done",
    "containers": f"docker inspect $(docker ps -aq {_OURS}) 2>/dev/null",
    "inside": f"for c in $(docker ps -q {_OURS}); do "
    "docker inspect --format '== {{.Name}}' $c; timeout 60 docker exec $c nvidia-smi -L 2>&1; done",
    "models": f"for c in $(docker ps -aq {_OURS} 2>/dev/null); do "
    f"docker inspect --format '{_MODEL}' $c; done | sort -u | "
    'while read -r d; do if [ ! -f $d/.ingot-verified.json ]; then echo "$d was never verified"; '
    "else find $d -type f -newer $d/.ingot-verified.json ! -name '.ingot-*' "
    "-printf '%p changed since it was verified\\n'; fi; done",
    "upstreams": "cat /var/lib/ingot/upstreams.json",
    "health": "grep -oE '[0-9.]+:[0-9]+' /var/lib/ingot/upstreams.json | while read -r a; do "
    "echo \"$a $(curl -s -o /dev/null -m 10 -w '%{http_code}' http://$a/health)\"; done",
    "nginx": "nginx -t",
    "units": 'for u in docker nginx; do echo "$u $(systemctl is-active $u) $(systemctl is-enabled $u)"; done',
    "listeners": "ss -Hltnp",
    "readable": "find /etc/ingot /etc/nginx /var/lib/ingot -xdev -type f -perm /o=r "
    f"-exec grep -lE '{SECRET}' {{}} + 2>/dev/null",
}


@dataclass(frozen=True)
class Look:
    """What the questions were answered."""

    answers: Mapping[str, Section]

    def text(self, question: str) -> str:
        return self.answers[question].output.strip()

    def lines(self, question: str) -> list[str]:
        return [line.strip() for line in self.text(question).splitlines() if line.strip()]

    @property
    def containers(self) -> list[dict[str, Any]]:
        return self._json("containers", [])

    @property
    def docker(self) -> dict[str, Any]:
        return self._json("docker", {})

    @property
    def gpu_uuids(self) -> list[str]:
        """The GPUs that answer nvidia-smi."""
        return re.findall(r"UUID: (GPU-[0-9a-f-]+)", self.text("smi"))

    @property
    def cdi_devices(self) -> set[str]:
        """Devices of every CDI specification: `nvidia.com/gpu=GPU-…`."""
        return {
            f"{specification['kind']}={device['name']}"
            for specification in yaml.safe_load_all(self.text("cdi"))
            if specification
            for device in specification.get("devices", ())
        }

    @property
    def inside(self) -> dict[str, str]:
        """What nvidia-smi says inside each running engine container."""
        parts = re.split(r"^== /(.+)$", self.text("inside"), flags=re.MULTILINE)
        return dict(zip(parts[1::2], parts[2::2], strict=True))

    @property
    def upstreams(self) -> list[dict[str, Any]]:
        """Served models and their replicas, as the gateway was told."""
        return self._json("upstreams", [])

    def _json(self, question: str, nothing: Any) -> Any:
        """An answer as JSON; `nothing` where the command was not found or had nothing to say."""
        try:
            return json.loads(self.text(question))
        except ValueError:
            return nothing


def look_at(host: Host) -> Look:
    """Ask everything at once.

    Raises: AssertionError when the command itself could not run (no sudo, no shell).
    """
    done = host.run(compose(QUESTIONS))
    assert done.rc == 0, f"{host.backend.get_hostname()}: cannot look at the host: {done.stderr.strip()}"
    return Look(split(done.stdout.splitlines()))
