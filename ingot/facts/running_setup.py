"""Another program that serves models on a host now: its command line, the variables that say what it serves, its store.

Nothing is changed and nothing asked of it. Of its variables only those leave the host that name models and limits; keys
and tokens do not.
"""

from __future__ import annotations

import base64
import binascii
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pyinfra.api.facts import FactBase

#: Program -> what its command line has, as pgrep -f looks for it; and its variables that are read, for grep -E.
PROGRAMS: Mapping[str, tuple[str, str]] = {
    "tgi": (
        "text-generation-launcher",
        "MODEL_ID|REVISION|MAX_(TOTAL_TOKENS|INPUT_TOKENS|CONCURRENT_REQUESTS)|QUANTIZE|DTYPE|KV_CACHE_DTYPE"
        "|TRUST_REMOTE_CODE|LORA_ADAPTERS|SPECULATE",
    ),
    "ollama": ("ollama serve", "OLLAMA_[A-Z_]+|LLAMA_ARG_[A-Z_]+"),
    "lmstudio": ("llmster", ""),
}
#: Files of a store that are looked at: manifests and parameters, in KiB each and in MiB together.
SMALL_KIB, STORE_MIB = 64, 32
#: Of variables, and of a command line's words, what may be a key stays there.
_WITHOUT_KEYS = "grep -zvE '^[A-Z_]*(KEY|TOKEN|SECRET)='"
_WITHOUT_KEY = "/^--api-key$/{n;s/.*/-/};s/^--api-key=.*/--api-key=-/"
FOLDERS = (".lmstudio/models", ".cache/lm-studio/models")
MOST_FILES = 1000


@dataclass(frozen=True, slots=True)
class RunningProgram:
    """What runs and what lies there: the words and the variables of each process, a store's small files as a tar
    archive, and the paths of GGUF files below a folder of downloads."""

    processes: tuple[tuple[tuple[str, ...], Mapping[str, str]], ...] = ()
    store: bytes = b""
    files: tuple[str, ...] = field(default=())


class RunningSetup(FactBase[RunningProgram]):
    """What of one of `PROGRAMS` runs on a host."""

    def command(self, program: str) -> str:
        pattern, variables = PROGRAMS[program]
        # A process may end while it is looked at; a pattern in brackets is not found in this very line.
        told = f"grep -zE '^({variables})=' $p/environ | {_WITHOUT_KEYS} | base64 -w0" if variables else "true"
        words = f"tr '\\0' '\\n' <$p/cmdline | sed {shlex.quote(_WITHOUT_KEY)} | tr '\\n' '\\0' | base64 -w0"
        bracketed = f"[{pattern[0]}]{pattern[1:]}"
        each = f'for n in $(pgrep -f {shlex.quote(bracketed)}); do p=/proc/$n; echo "process $({words}) $({told})"; '
        if program == "ollama":
            each += (
                "h=$(tr '\\0' '\\n' <$p/environ | sed -n 's/^HOME=//p' | head -n 1); "
                "s=$(tr '\\0' '\\n' <$p/environ | sed -n 's/^OLLAMA_MODELS=//p' | head -n 1); "
                'd="$p/root${s:-${h:-/root}/.ollama/models}"; '
                f'[ ! -d "$d/manifests" ] || ( cd "$d" && echo "store $({{ find manifests -type f; '
                f"find blobs -type f -size -{SMALL_KIB}k; }} | head -n {MOST_FILES} | tar -c -T - 2>/dev/null "
                f'| head -c {STORE_MIB}M | base64 -w0)" ); '
            )
        each += "done 2>/dev/null; "
        if program == "lmstudio":
            named = " ".join(f'"$h"/{folder}' for folder in FOLDERS)
            each += (
                f'for h in /root /home/*; do for d in {named}; do [ ! -d "$d" ] || ( cd "$d" && '
                f"find . -name '*.gguf' | head -n {MOST_FILES} | sed 's/^/file /' ); done; done; "
            )
        return f"{each}true"

    @staticmethod
    def default() -> RunningProgram:
        return RunningProgram()

    def process(self, output: Iterable[str]) -> RunningProgram:
        return parse_running(output)


def parse_running(output: Iterable[str]) -> RunningProgram:
    """The answer of `RunningSetup`; a line that was cut off is left out."""
    processes: list[tuple[tuple[str, ...], Mapping[str, str]]] = []
    store, files = b"", list[str]()
    for line in output:
        kind, _, rest = line.strip().partition(" ")
        try:
            if kind == "process":
                words, _, variables = rest.partition(" ")
                said = [one for one in _texts(words) if one]
                pairs = dict(one.split("=", 1) for one in _texts(variables) if "=" in one)
                if said:
                    processes.append((tuple(said), pairs))
            elif kind == "store" and not store:
                store = base64.b64decode(rest, validate=True)
            elif kind == "file":
                files.append(rest.removeprefix("./"))
        except (binascii.Error, ValueError):
            continue
    return RunningProgram(tuple(processes), store, tuple(sorted(files)))


def _texts(encoded: str) -> list[str]:
    return base64.b64decode(encoded, validate=True).decode(errors="replace").split("\0")
