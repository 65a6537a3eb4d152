"""What a host can tell of an engine that ended by itself: how its container ended, its last words, the kernel's."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass

from pyinfra.api.facts import FactBase

from ingot.facts import sections

#: Lines of an engine's log that name an end: Python's own on a signal (PYTHONFAULTHANDLER), vLLM's on a process that is
#: gone, CUDA's.
LAST_WORDS = (
    "Fatal Python error|Failed core proc|died unexpectedly|EngineDeadError|CUDA error|OutOfMemoryError|MemoryError"
)
#: Lines of the kernel's log that name an end, and the programs that an engine consists of.
KERNEL = "trap invalid opcode|segfault at|general protection|trap divide error|Killed process"
PROGRAMS = "vllm|python|ray::"


@dataclass(frozen=True, slots=True)
class Crash:
    """The exit code of a container's last end (None: Docker does not know one), whether memory ran out, the first line
    of its log and the last of the kernel's that name an end ("": none), and the processor's name."""

    exit_code: int | None = None
    out_of_memory: bool = False
    last_words: str = ""
    kernel: str = ""
    processor: str = ""


class ReplicaCrash(FactBase[Crash]):
    """Ask about one replica that stopped by itself, or that Docker has restarted since."""

    def command(self, container: str) -> str:
        # A container that Docker has restarted shows the new start's state; its ends are among Docker's events, and the
        # last one may be of this very second.
        ends = (
            'docker events --since "$(docker inspect --format \'{{.Created}}\' $container)" --until "$(date +%s.%N)" '
            "--filter type=container --filter container=$container --filter event=die --filter event=oom "
            "--format '{{.Action}} {{index .Actor.Attributes \"exitCode\"}}'"
        )
        # Seconds since boot, as the kernel's log counts them: what is older is of another engine.
        since = (
            "created=$(date -d \"$(docker inspect --format '{{.Created}}' $container 2>/dev/null)\" +%s); "
            'awk -v created="$created" -v now="$(date +%s)" '
            "'NR == FNR { from = $1 - (now - created); next } "
            '{ at = $0; sub(/^[^0-9]*/, "", at) } at + 0 >= from\' /proc/uptime -'
        )
        state = "docker inspect --format '{{.State.Status}} {{.State.ExitCode}} {{.State.OOMKilled}}' $container"
        return f"container={shlex.quote(container)}; " + sections.compose(
            {
                "state": state,
                "ends": ends,
                "words": f"docker logs $container 2>&1 | grep -E {shlex.quote(LAST_WORDS)} | head -n 1",
                "kernel": f"dmesg 2>/dev/null | {{ {since}; }} | grep -E {shlex.quote(KERNEL)} | "
                f"grep -iE {shlex.quote(PROGRAMS)} | tail -n 1",
                "processor": "grep -m 1 '^model name' /proc/cpuinfo",
            }
        )

    @staticmethod
    def default() -> Crash:
        # Unlike any answer: whoever asked was not answered.
        return Crash(exit_code=-1)

    def process(self, output: list[str]) -> Crash:
        return parse_crash(output)


def parse_crash(output: Iterable[str]) -> Crash:
    """The answer of `ReplicaCrash`."""
    found = sections.split(output)
    state = found["state"].line.split() if found["state"].status == 0 else []
    events = found["ends"].output.splitlines() if found["ends"].status == 0 else []
    codes = [int(match[1]) for line in events if (match := re.fullmatch(r"die (\d+)", line.strip()))]
    ended = state[1:2] if state[:1] != ["running"] else []
    return Crash(
        exit_code=codes[-1] if codes else int(ended[0]) if ended else None,
        out_of_memory=state[2:3] == ["true"] or any(line.strip() == "oom" for line in events),
        last_words=found["words"].line.strip()[:200],
        kernel=re.sub(r"^\[[^]]*\] ", "", found["kernel"].line.strip())[:200],
        processor=found["processor"].line.partition(":")[2].strip(),
    )
