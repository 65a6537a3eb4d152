"""The host file of a new member: written once, later only repaired line by line, so that comments stay."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ingot.errors import IngotError
from ingot.inventory import fleet
from ingot.inventory.host_files import ERROR_KEY, load
from ingot.onboarding.known_hosts import locked
from ingot.secrets import files

#: Keys that onboarding keeps right, in the order in which a new file has them.
KEYS = ("address", "user", "port", "ssh_key", "ssh_config", "groups", "gpus")

#: What was ordered, or decided, stays as the operator wrote it; onboarding only fills it in.
FILLED = frozenset({"groups", "gpus"})

_DEFAULTS = {"port": 22, "groups": ["gpu"]}
_KEY = re.compile(r"^([a-z_]+)\s*:")
_SCALAR = re.compile(r"^([a-z_]+\s*:\s*)(\"[^\"]*\"|'[^']*'|[^#\s][^#]*?)?(\s+#.*|\s*)$")


def path_of(inventory: Path, name: str) -> Path:
    """Where a host's file is: `inventories/prod/NAME.yaml` for inventories/prod.py."""
    directory = inventory.parent / inventory.stem
    other = directory / f"{name}.yml"
    return other if other.is_file() else directory / f"{name}.yaml"


def known(inventory: Path, name: str, address: str, port: int) -> Mapping[str, Any] | None:
    """What a host's file says now, None where there is none.

    Raises: IngotError when it is wrong, or another host of the inventory has the address.
    """
    directory = inventory.parent / inventory.stem
    if not any(directory.glob("*.y*ml")):
        return None
    found: Mapping[str, Any] | None = None
    for member, _, data in load(directory).members:
        if member == name:
            if ERROR_KEY in data:
                raise IngotError(str(data[ERROR_KEY]))
            found = yaml.safe_load(path_of(inventory, name).read_text(encoding="utf-8"))
        elif (data.get("ssh_hostname"), data.get("ssh_port")) == (address, port):
            raise IngotError(
                f"{name}: {address} port {port} is already {member} of {inventory}; give another address, or onboard "
                f"it as {member}."
            )
    return found


def portable(path: Path, inventory: Path) -> Path:
    """A path that suits everybody in a team: relative to the checkout, else to the home directory, else absolute."""
    absolute = Path.cwd() / path.expanduser()
    root = fleet.root(inventory)
    for base, shown in ((root.absolute(), Path()), (Path.home(), Path("~"))):
        if absolute.is_relative_to(base):
            return shown / absolute.relative_to(base)
    return absolute


def render(about: str, wanted: Mapping[str, Any]) -> str:
    """A new host file. `about`: one line for people."""
    lines = [f"# {about}", *(_line(key, wanted[key]) for key in KEYS if _is_worth_saying(key, wanted))]
    if not wanted.get("gpus"):
        lines.append("# gpus: as ordered, e.g. h100x8")
    lines += ["# expect: what was ordered, which preflight and `ingot accept` compare; see docs/acceptance.md"]
    lines += ["# serve:", "#   - model: qwen2.5-7b-instruct", "#     context: 8192", "#     concurrency: 16"]
    return "\n".join(lines) + "\n"


def repaired(text: str, wanted: Mapping[str, Any]) -> str:
    """The text of a host file with the keys of `wanted` right, and every other line as it was."""
    has = yaml.safe_load(text) or {}
    lines = text.splitlines()
    for key in KEYS:
        value = wanted.get(key)
        if value is None or (key in FILLED and key in has) or has.get(key, _DEFAULTS.get(key)) == value:
            continue
        place = next((n for n, line in enumerate(lines) if _key_of(line) == key), None)
        if place is None:
            after = max((n for n, line in enumerate(lines) if _key_of(line) in KEYS), default=-1)
            lines.insert(after + 1, _line(key, value))
        else:
            match = _SCALAR.match(lines[place])
            comment = match.group(3).rstrip() if match else ""
            lines[place] = _line(key, value) + comment
    return "\n".join(lines) + "\n"


def write(path: Path, about: str, wanted: Mapping[str, Any], *, dry: bool = False) -> str | None:
    """Write or repair a host file in one step; what was done, None where nothing differs.

    Raises: IngotError when the file's own way of writing a key cannot be repaired line by line.
    """
    old = path.read_text(encoding="utf-8") if path.is_file() else None
    new = render(about, wanted) if old is None else repaired(old, wanted)
    if new == old:
        return None
    wrong = _unset(new, wanted)
    if wrong:
        raise IngotError(
            f"{path}: `{wrong}` cannot be set to {wanted[wrong]!r}; write every key on a line of its own, as "
            "`address: 10.0.0.17`."
        )
    if not dry:
        with locked(path.parent):
            files.replace(path, new, 0o644)
    return f"writes {path}" if old is None else f"repairs {path}"


def _unset(text: str, wanted: Mapping[str, Any]) -> str | None:
    """The first key that the text still has wrong, so that the file is left alone; None when all are right."""
    try:
        parsed = yaml.safe_load(text)
    except yaml.YAMLError:
        parsed = {}
    set_here = {key: value for key, value in wanted.items() if key not in FILLED and value is not None}
    return next((key for key, value in set_here.items() if parsed.get(key, _DEFAULTS.get(key)) != value), None)


def _is_worth_saying(key: str, wanted: Mapping[str, Any]) -> bool:
    return wanted.get(key) is not None and wanted[key] != _DEFAULTS.get(key)


def _line(key: str, value: Any) -> str:
    dumped: str = yaml.safe_dump(value, default_flow_style=True, width=1 << 16)
    return f"{key}: {dumped.removesuffix('...' + chr(10)).strip()}"


def _key_of(line: str) -> str:
    match = _KEY.match(line)
    return match.group(1) if match else ""
