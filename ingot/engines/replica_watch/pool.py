"""nginx' pool without the replicas that are held out, exactly as the gateway's role would write it."""

from __future__ import annotations

import hashlib
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ingot.engines.replica_watch import files


def is_of(text: str, upstreams: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a file of nginx' upstreams has these replicas, in their order."""
    return re.findall(r"^    server (\S+) ", text, re.MULTILINE) == [
        address for one in upstreams for address in one.get("replicas", ())
    ]


def pool_text(text: str, upstreams: Sequence[Mapping[str, Any]], held: Iterable[str]) -> tuple[str, list[bool]]:
    """nginx' upstreams with these addresses down, and which of them can be used; the file names its own digest anew."""
    out = set(held)
    usable = []
    for index, one in enumerate(entry for entry in upstreams if entry.get("replicas")):
        down = {address: address in out or address in one.get("draining", ()) for address in one["replicas"]}
        for address, is_down in down.items():
            text = re.sub(
                rf"^(    server {re.escape(address)} [^;]*?)(?: down)?;$",
                lambda match, mark=" down" if is_down else "": f"{match[1]}{mark};",  # type: ignore[misc]
                text,
                flags=re.MULTILINE,
            )
        state = re.search(rf'^map "" \$engine_{index}_out {{ default "([^"]*)"; }}$', text, re.MULTILINE)
        if state and state[1] != "held out":
            word = "draining" if all(down.values()) else ""
            text = text[: state.start(1)] + word + text[state.end(1) :]
        usable.append(bool(state and state[1] != "held out" and not all(down.values())))
    digest = re.compile(r'^(map "" \$engines_in_use { default ")[0-9a-f]*("; })$', re.MULTILINE)
    bare = digest.sub(r"\g<1>\g<2>", text)
    return digest.sub(rf"\g<1>{hashlib.sha256(bare.encode()).hexdigest()[:16]}\g<2>", text), usable


def fleet_text(text: str, usable: Sequence[bool], first_port: int) -> str:
    """The ports that fleet gateways reach: those of models that can be used."""
    head = [line for line in text.splitlines() if not line.startswith("listen ")]
    has_six = Path("/proc/net/if_inet6").exists() and bool(Path("/proc/net/if_inet6").read_text())
    lines = []
    for index, open_ in enumerate(usable):
        if open_:
            lines.append(f"listen {first_port + index} ssl;")
            lines += [f"listen [::]:{first_port + index} ssl;"] if has_six else []
    return "\n".join([*head, *lines]) + "\n"


def tell_nginx(texts: Mapping[Path, str]) -> None:
    """Have nginx follow these files, given as their texts, or keep the old ones where it refuses them."""
    before = {path: path.read_text() for path in texts}
    for path, text in texts.items():
        files.replace(path, text)
    if subprocess.run(["systemctl", "is-active", "-q", "nginx"], check=False).returncode != 0:
        return
    if subprocess.run(["nginx", "-t", "-q"], check=False).returncode == 0:
        subprocess.run(["systemctl", "reload", "nginx"], check=False)
    else:
        print("<3>nginx refuses the changed pool; it stays as it was")
        for path, text in before.items():
            files.replace(path, text)
