"""How containers get GPUs: the CDI specifications on a host, who writes them, and what dockerd made of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pyinfra.api.facts import FactBase

from ingot.facts import docker, nvidia
from ingot.facts.driver import parse_running
from ingot.facts.errors import ParseError, Unread
from ingot.facts.nvidia import GpuReport, reported
from ingot.facts.sections import Question, Section, answer, split

REFRESHED = "/var/run/cdi/nvidia.yaml"
GENERATED = "/etc/cdi/nvidia.yaml"

# Specifications are YAML or JSON with long lists of mounts; these three things say whether they are of today.
_SPEC = (
    'f={path}; [ -e "$f" ] && echo present && grep -oE \'"?name"?: *"?(GPU|MIG)-[^"[:space:],]+\' "$f"; '
    "grep -oE 'libcuda\\.so\\.[0-9]+\\.[0-9.]*[0-9]' \"$f\" 2>/dev/null | sort -u; true"
)

_QUESTIONS: dict[str, str] = {
    "cdi_refreshed": _SPEC.format(path=REFRESHED),
    "cdi_generated": _SPEC.format(path=GENERATED),
    "cdi_refresh_unit": "systemctl cat nvidia-cdi-refresh.service",
    "cdi_docker": docker.INFO,
    "driver_running": "cat /proc/driver/nvidia/version 2>/dev/null",
    "toolkit_version": "dpkg-query -W -f='${Version}' nvidia-container-toolkit-base 2>/dev/null",
}


@dataclass(frozen=True, slots=True)
class Spec:
    """One CDI specification: the GPUs and instances it names by UUID, and the driver libraries it mounts."""

    uuids: frozenset[str] = frozenset()
    drivers: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class DockerCdi:
    """dockerd's view. `devices` are the GPUs it lists by UUID, None where its version (before 28.2) lists none."""

    directories: tuple[str, ...] = ()
    devices: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class CdiState:
    """One look. Specifications and `docker` are None where they do not exist or do not answer.

    `used` are the devices that matter where Ingot is to leave others alone.
    """

    gpus: GpuReport
    running: str | None = None
    refreshed: Spec | None = None
    generated: Spec | None = None
    has_refresh_unit: bool = False
    docker: DockerCdi | None = None
    toolkit: str | None = None
    used: frozenset[str] | None = None

    @property
    def uuids(self) -> frozenset[str]:
        """The devices that a specification must name: all that answer, or those that Ingot may use."""
        return frozenset(gpu.uuid for gpu in self.gpus.gpus) if self.used is None else self.used

    @property
    def spec(self) -> Spec | None:
        """The specification that should be in force."""
        return self.refreshed if self.has_refresh_unit else self.generated

    @property
    def is_current(self) -> bool:
        """Whether the specification in force names today's devices and today's driver, and is the only one."""
        spec, other = self.spec, self.generated if self.has_refresh_unit else self.refreshed
        return (
            spec is not None
            and other is None
            and self.uuids <= spec.uuids
            and not any(uuid for uuid in spec.uuids - self.uuids if self._is_stale(uuid))
            and (not spec.drivers or self.running in spec.drivers)
        )

    def _is_stale(self, uuid: str) -> bool:
        """A GPU in MIG mode keeps its own entry beside its instances'; any other unknown device is gone."""
        return uuid not in {row.uuid for row in self.gpus.rows} | {gpu.uuid for gpu in self.gpus.gpus}


class Cdi(FactBase[CdiState | Unread]):
    """CDI specifications, their writer, dockerd's view of them, and the GPUs they should name.

    Returns: CdiState(gpus=GpuReport(…), running='580.159.04', refreshed=Spec({'GPU-…'}, {'580.159.04'}), …)
    """

    def command(self) -> str:
        return Question.of(_QUESTIONS | nvidia.QUESTIONS)

    @staticmethod
    def default() -> CdiState | Unread:
        return Unread()

    def process(self, output: Iterable[str]) -> CdiState | Unread:
        try:
            return parse_cdi(split(output))
        except ParseError as error:
            return Unread(str(error))


def parse_cdi(sections: Mapping[str, Section]) -> CdiState:
    """The answers of one look.

    Raises: ParseError when one is missing.
    """
    return CdiState(
        gpus=reported(sections),
        running=parse_running(answer(sections, "driver_running").output),
        refreshed=parse_spec(answer(sections, "cdi_refreshed").output),
        generated=parse_spec(answer(sections, "cdi_generated").output),
        has_refresh_unit=answer(sections, "cdi_refresh_unit").status == 0,
        docker=parse_docker(answer(sections, "cdi_docker").output),
        toolkit=answer(sections, "toolkit_version").line or None,
    )


def parse_spec(text: str) -> Spec | None:
    """What was found of a specification; None when there is none."""
    lines = text.splitlines()
    if not lines or lines[0] != "present":
        return None
    uuids = {match.group(1) for line in lines if (match := re.search(r"((?:GPU|MIG)-\S+)$", line))}
    drivers = {match.group(1) for line in lines if (match := re.match(r"^libcuda\.so\.([0-9.]+)$", line))}
    return Spec(frozenset(uuids), frozenset(drivers))


def parse_docker(text: str) -> DockerCdi | None:
    """dockerd's own account in `docker info --format '{{json .}}'`; None when it did not answer.

    Raises: ParseError when its answer is not what docker prints.
    """
    if not text.strip():
        return None
    try:
        info = json.loads(text)
    except ValueError:
        raise ParseError(f"docker info printed {text[:60]!r}, expected JSON.") from None
    if not isinstance(info, dict):
        raise ParseError("docker info printed no JSON object.")
    directories = info.get("CDISpecDirs") or []
    listed = info.get("DiscoveredDevices")
    if not isinstance(directories, list) or not isinstance(listed, list | None):
        raise ParseError("docker info has CDISpecDirs or DiscoveredDevices that are no lists.")
    devices = None
    if listed is not None or "DiscoveredDevices" in info:
        names = [str(entry.get("ID", "")) for entry in listed or [] if isinstance(entry, dict)]
        devices = frozenset(name.partition("=")[2] for name in names if name.startswith("nvidia.com/gpu="))
    return DockerCdi(tuple(str(directory) for directory in directories), devices)
