"""The ssh_config beside the host files: how members behind jump hosts are reached, by pyinfra and by ssh alike."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

from ingot.onboarding.known_hosts import locked, read
from ingot.onboarding.route import Route
from ingot.secrets import files

HEAD = "# The ways through jump hosts, kept by `ingot onboard`; `ssh -F` takes it too.\n"
_HOST = re.compile(r"^\s*Host\s+(.*?)\s*$", re.IGNORECASE)


def blocks(way: Route, known_hosts: Path, identity: Path | None) -> dict[str, tuple[str, ...]]:
    """The settings of the target and of each jump host, by address: every key on the way is checked."""
    pinned = ("StrictHostKeyChecking yes", f"UserKnownHostsFile {known_hosts}")
    key = (f"IdentityFile {identity}",) if identity else ()
    jumps = ",".join(hop.spelled for hop in way.jumps)
    return {hop.address: (*pinned, *key) for hop in way.jumps} | {way.target.address: (f"ProxyJump {jumps}", *pinned)}


def with_block(text: str, host: str, settings: Sequence[str]) -> str:
    """An ssh_config text in which one host has exactly these settings; the blocks of others are as they were."""
    block = [f"Host {host}", *(f"    {one}" for one in settings), ""]
    kept: list[str] = []
    mine = False
    place: int | None = None
    for line in text.splitlines():
        match = _HOST.match(line)
        if match:
            mine = match.group(1) == host
            if mine and place is None:
                place = len(kept)
        if not mine:
            kept.append(line)
    if place is None:
        kept += [""] if kept and kept[-1].strip() else []
        place = len(kept)
    return "\n".join([*kept[:place], *block, *kept[place:]]).rstrip("\n") + "\n"


def write(path: Path, settings: Mapping[str, Sequence[str]], *, dry: bool = False) -> str | None:
    """Write these settings of these hosts into the file; return what was done, None where nothing differs."""
    with locked(path.parent) if not dry else nullcontext():
        old = read(path)
        new = old or HEAD
        for host, lines in settings.items():
            new = with_block(new, host, lines)
        if new == old:
            return None
        if not dry:
            files.replace(path, new, 0o644)
        return f"writes {path}"
