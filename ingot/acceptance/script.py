"""The host's side of an acceptance as members of one unit: scripts, and the values they are given."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

from ingot.acceptance.burnin import PHASES
from ingot.acceptance.level import Level
from ingot.acceptance.readings import COUNTER_FIELDS, NEWER_FIELDS, TRACE_FIELDS

UNIT = "ingot-accept"
#: On the host: the outputs of each step, and in acceptance.json beside it the verdict.
RESULTS = "/var/lib/ingot/acceptance"
CONTAINER = "ingot-acceptance"
#: What is read back; `now` is the step at work.
OUTPUTS = (
    *(f"{when}_{what}" for when in ("before", "after") for what in ("counters", "newer", "nvlink", "detail", "kernel")),
    *("disk", "burn_in", "burn_in_errors", "dcgm", "refused", "stopped"),
)
TRACE = "trace"


@dataclass(frozen=True, slots=True)
class Job:
    """What one host shall do. `drained`: texts of the gateway's pool by path while nobody is served."""

    level: Level
    key: str
    image: str
    gpus: tuple[str, ...]
    cache_root: str
    grace_s: int
    burn_in: bool
    again: bool
    shm_bytes: int
    pids: int
    idle: str = "true"
    drained: Mapping[str, str] | None = None

    def members(self) -> dict[str, str]:
        """The files of the unit by name; `run.sh` is added by whoever starts it."""
        own = files(__package__)
        scripts = {name: (own / name).read_text() for name in ("look.sh", "burn.sh", "restore.sh")}
        pool = {
            f"pool.{number}.{part}": text
            for number, (path, content) in enumerate((self.drained or {}).items())
            for part, text in (("path", path + "\n"), ("drained", content))
        }
        return {
            **scripts,
            **pool,
            "burnin.py": burn_in_script(),
            "config": self.config(),
            "idle.sh": self.idle + "\n",
            "progress": PROGRESS,
        }

    def config(self) -> str:
        """Shell assignments."""
        level = self.level
        values = {
            "key": self.key,
            "again": int(self.again),
            "burn": int(self.burn_in),
            "image": self.image,
            "gpus": ",".join(self.gpus),
            "container": shlex.join(self.container()),
            "burn_options": shlex.join(
                [
                    "--gpus",
                    ",".join(self.gpus),
                    "--seconds",
                    f"{level.seconds:g}",
                    "--soak-seconds",
                    f"{level.soak_s:g}",
                ]
            ),
            "phases": " ".join(PHASES),
            "cache_root": self.cache_root,
            "disk_bytes": level.disk_bytes,
            "disk_s": level.disk_s,
            "dcgm": level.dcgm,
            "interval_s": f"{level.interval_s:g}",
            "longest_s": level.longest_s(len(self.gpus)),
            "grace_s": self.grace_s,
            "counter_fields": COUNTER_FIELDS,
            "newer_fields": NEWER_FIELDS,
            "trace_fields": TRACE_FIELDS,
        }
        return "".join(f"{name}={shlex.quote(str(value))}\n" for name, value in values.items())

    def container(self) -> Sequence[str]:
        """Options of `docker run`: as hard as a replica's, without any network, the script read-only."""
        devices = [f"--device=nvidia.com/gpu={uuid}" for uuid in self.gpus] if self.burn_in else []
        return [
            *("--rm", "--init", "--runtime=runc", f"--name={CONTAINER}", "--label=ingot.acceptance"),
            *("--network=none", "--pull=never"),
            *("--read-only", "--tmpfs=/tmp", "--env=HOME=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges"),
            *("--user=2000:0", f"--pids-limit={self.pids}", "--ipc=private", f"--shm-size={self.shm_bytes}"),
            f"--volume=/run/ingot/{UNIT}/burnin.py:/burnin.py:ro",
            *devices,
            "--entrypoint=python3",
        ]


def burn_in_script() -> str:
    """The burn-in, which runs in the engine's image."""
    return (files(__package__) / "burnin.py").read_text()


def run_script() -> str:
    """What the unit runs."""
    return (files(__package__) / "accept.sh").read_text()


#: One line on how far it is, for whoever waits.
PROGRESS = f"""now=$(cat {RESULTS}/now 2>/dev/null)
last=$(tail -n 1 {RESULTS}/burn_in 2>/dev/null | sed -n 's/.*"phase": "\\([a-z_]*\\)".*/\\1/p')
case $now in burning*) echo "$now: ${{last:-starting}}" ;; *) echo "$now" ;; esac
"""
