"""Takes a replica whose GPU failed out of the gateway's pool, and puts it back when the GPU is well and it answers.

Runs on the host itself, from a systemd timer, by the host's python3 (3.10 or newer):

    python3 gpu_watch.py SETTINGS

SETTINGS is a JSON file with the keys of `Settings`. What is held out stands in `holds`, which the deploy, the gateway's
role and `ingot verify` read; the file of nginx' upstreams becomes what the gateway's role would write for it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

#: A GPU that hangs makes nvidia-smi hang: no question waits longer than this, seconds.
SMI_LIMIT_S = 20
HEALTH_LIMIT_S = 3
FIELDS = "uuid,pci.bus_id,gpu_recovery_action"
#: Drivers before 570 do not know what they would ask for: there the kernel's log decides.
OLDER_FIELDS = "uuid,pci.bus_id"
_LOST = ("gpu is lost", "gpu requires reset", "unknown error")
_XID = re.compile(r"^(?:\[\s*([0-9]+\.[0-9]+)\])?.*NVRM: Xid \((?:PCI:)?([0-9a-fA-F:]+)[^)]*\): ([0-9]+),")
_LISTED = re.compile(r"UUID: ((?:GPU|MIG)-[0-9a-fA-F-]+)")


@dataclass(frozen=True)
class Settings:
    """Where things are, and what is fatal: Xid numbers, and the driver's recovery actions in small letters."""

    services: str
    upstreams: str
    engines: str
    fleet: str
    fleet_port: int
    holds: str
    fatal_xids: Sequence[int]
    fatal_actions: Sequence[str]


@dataclass(frozen=True)
class Replica:
    """A replica as the rollout proved it last: its address, its GPUs, where it says that it is well, and since when."""

    address: str
    gpus: tuple[str, ...]
    health: str
    proven_at: float


@dataclass(frozen=True)
class Gpu:
    """One GPU: what is wrong with it, None when nothing is."""

    uuid: str
    slot: str
    trouble: str | None


# --- what is decided


def judge(rows: str, log: str, settings: Settings, proven_at: float, booted_at: float) -> list[Gpu]:
    """The GPUs of `nvidia-smi --query-gpu`, judged by their rows; those that tell no action by the kernel's log."""
    gpus = []
    for line in rows.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) < 2 or not cells[0].startswith("GPU-"):
            continue
        slot = _slot(cells[1])
        bare = [cell.strip("[] ").lower() for cell in cells[1:]]
        trouble = next((cell for cell in bare if cell in _LOST), None)
        action = bare[1] if len(bare) > 1 else "n/a"
        if trouble is None and action in settings.fatal_actions:
            trouble = f"the driver asks for: {cells[2]}"
        if trouble is None and action in ("", "n/a", "not supported"):
            trouble = _fatal_xid(log, slot, settings.fatal_xids, proven_at - booted_at)
        gpus.append(Gpu(cells[0], slot, trouble))
    return gpus


def _fatal_xid(log: str, slot: str, fatal: Iterable[int], after_s: float) -> str | None:
    """The newest fatal Xid of a GPU that came after its replica was proven; `after_s` is in seconds since boot."""
    found = None
    for line in log.splitlines():
        match = _XID.match(line.strip())
        is_its = match is not None and _slot(match[2]) == slot and int(match[3]) in fatal
        if match and is_its and (match[1] is None or float(match[1]) > after_s):
            found = f"Xid {match[3]}"
    return found


def _slot(address: str) -> str:
    """Domain, bus and device in one spelling: `00000000:83:00.0` and `0000:83:00` are 0:83:0."""
    parts = re.findall(r"[0-9a-fA-F]+", address.partition(".")[0])
    return ":".join(f"{int(part, 16):x}" for part in (["0", *parts] if len(parts) == 2 else parts))


def wanted_holds(
    replicas: Iterable[Replica],
    gpus: Mapping[str, Gpu],
    parents: Mapping[str, str],
    now: Mapping[str, Any],
    well: Mapping[str, bool],
) -> dict[str, dict[str, str]]:
    """What should be held out, by address: GPU, reason, and since when.

    `parents` are the GPUs of MIG instances. A replica that is out comes back when its GPUs are well and it answers.
    """
    holds = {}
    for replica in replicas:
        for uuid in replica.gpus:
            gpu = gpus.get(parents.get(uuid, uuid))
            trouble = gpu.trouble if gpu else "it does not answer any more"
            held = now.get(replica.address)
            if trouble:
                since = held["since"] if held and "since" in held else _now()
                holds[replica.address] = {"gpu": uuid, "why": trouble, "since": since}
                break
            if held and held.get("gpu") == uuid and not well.get(replica.address):
                # Its GPU is well again, and it does not answer yet.
                holds[replica.address] = dict(held)
                break
    return holds


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")  # noqa: UP017 (python 3.10)


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


# --- what is read and done


def ask(*words: str) -> str | None:
    """What a command prints, None when it does not end in time; a process that cannot be killed is left behind."""
    with tempfile.TemporaryFile() as out:
        try:
            process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
        except OSError:
            return None
        try:
            process.wait(SMI_LIMIT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return None
        out.seek(0)
        return out.read().decode(errors="replace")


def proven_replicas(directory: Path) -> list[Replica]:
    """The replicas that the rollout proved, out of their services' files."""
    found = []
    for path in sorted(directory.glob("*.json")):
        try:
            file = json.loads(path.read_text())
            # Older versions wrote the service alone.
            service = file.get("service", file)
            gpus = tuple(name.partition("=")[2] for name in service["devices"] if name.startswith("nvidia.com/gpu="))
            address = f"{service['address']}:{service['port']}"
            found.append(Replica(address, gpus, service["health_path"], path.stat().st_mtime))
        except (ValueError, KeyError, TypeError, AttributeError, OSError):
            continue
    return found


def parents_of_instances(listing: str) -> dict[str, str]:
    """The GPU of each MIG instance, out of `nvidia-smi -L`."""
    parent, found = "", {}
    for line in listing.splitlines():
        match = _LISTED.search(line)
        if match and match[1].startswith("GPU-"):
            parent = match[1]
        elif match:
            found[match[1]] = parent
    return found


def answers(replica: Replica) -> bool:
    """Whether a replica says that it is well."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{replica.address}{replica.health}", timeout=HEALTH_LIMIT_S) as reply:
            return bool(reply.status == 200)
    except (OSError, ValueError):
        return False


def replace(path: Path, text: str) -> None:
    """Write a file whole or not at all, with the owner and mode that it had."""
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(text)
    fresh.chmod(mode)
    with fresh.open("rb") as file:
        os.fsync(file.fileno())
    fresh.replace(path)


def look(settings: Settings, replicas: Sequence[Replica]) -> tuple[dict[str, Gpu], dict[str, str]] | None:
    """The host's GPUs by UUID and the parents of MIG instances; None when nvidia-smi tells nothing."""
    rows = ask("nvidia-smi", f"--query-gpu={FIELDS}", "--format=csv,noheader")
    if rows is not None and "not a valid field" in rows:
        rows = ask("nvidia-smi", f"--query-gpu={OLDER_FIELDS}", "--format=csv,noheader")
    if rows is None or "GPU-" not in rows:
        return None
    booted_at = time.time() - float(Path("/proc/uptime").read_text().split()[0])
    proven_at = min((replica.proven_at for replica in replicas), default=0.0)
    gpus = judge(rows, ask("dmesg") or "", settings, proven_at, booted_at)
    instances = any(uuid.startswith("MIG-") for replica in replicas for uuid in replica.gpus)
    parents = parents_of_instances(ask("nvidia-smi", "-L") or "") if instances else {}
    return {gpu.uuid: gpu for gpu in gpus}, parents


def stored(path: Path, otherwise: Any) -> Any:
    """A JSON file, or what stands for one that is missing or torn."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return otherwise


def main(file: str) -> int:
    """One look; returns the exit status."""
    settings = Settings(**json.loads(Path(file).read_text()))
    holds_file, engines, fleet = Path(settings.holds), Path(settings.engines), Path(settings.fleet)
    replicas = proven_replicas(Path(settings.services))
    now = stored(holds_file, {})
    if not any(replica.gpus for replica in replicas):
        holds: dict[str, dict[str, str]] = {}
    else:
        found = look(settings, replicas)
        if found is None:
            print("<4>nvidia-smi tells nothing: what is in the pool stays as it is")
            return 1
        well = {replica.address: answers(replica) for replica in replicas if replica.address in now}
        holds = wanted_holds(replicas, found[0], found[1], now, well)
    for address, hold in holds.items():
        if address not in now:
            print(f"<3>{address} is taken out of the pool: GPU {hold['gpu']}: {hold['why']}")
    for address in now:
        if address not in holds:
            print(f"<5>{address} is back in the pool")
    if holds != now:
        replace(holds_file, json.dumps(holds, indent=1, sort_keys=True) + "\n")
    if engines.exists():
        before = engines.read_text()
        upstreams = stored(Path(settings.upstreams), [])
        if not is_of(before, upstreams):
            # The gateway's role has not come to what the engine's role wrote last.
            return 0
        text, usable = pool_text(before, upstreams, holds)
        ports = fleet_text(fleet.read_text(), usable, settings.fleet_port) if fleet.exists() else None
        changed = text != before or (ports is not None and ports != fleet.read_text())
        # A deploy may have written the file meanwhile: then the next look sees what is left to do.
        if changed and engines.read_text() == before:
            tell_nginx({engines: text, **({fleet: ports} if ports is not None else {})})
    return 0


def tell_nginx(files: Mapping[Path, str]) -> None:
    """Have nginx follow these files, or keep the old ones where it refuses them."""
    before = {path: path.read_text() for path in files}
    for path, text in files.items():
        replace(path, text)
    if subprocess.run(["systemctl", "is-active", "-q", "nginx"], check=False).returncode != 0:
        return
    if subprocess.run(["nginx", "-t", "-q"], check=False).returncode == 0:
        subprocess.run(["systemctl", "reload", "nginx"], check=False)
    else:
        print("<3>nginx refuses the changed pool; it stays as it was")
        for path, text in before.items():
            replace(path, text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
