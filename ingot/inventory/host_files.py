"""Host files: one YAML file per host becomes a pyinfra host, or one sentence saying why it cannot."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from ingot.inventory import expectation
from ingot.inventory.errors import InventoryError
from ingot.inventory.member_name import is_member_name
from ingot.settings import NAMES
from ingot.settings.read import HOST_FILE, HOST_FILE_ERROR

#: The key of pyinfra's host data that carries a host file's error to the connector, which refuses that host alone.
ERROR_KEY = HOST_FILE_ERROR

DEFAULT_GROUP = "gpu"


class Expect(BaseModel):
    """What was ordered, in words. Preflight and acceptance compare it with the host and name each difference."""

    model_config = ConfigDict(extra="forbid")

    gpus: str | None = Field(default=None, description='"8 x H100 80GB"')
    memory: str | None = Field(default=None, description='"2 TB"')
    disks: str | None = Field(default=None, description='"2 x 960 GB SSD + 8 x 3.84 TB NVMe"')
    network: str | None = Field(default=None, description='"400 Gb/s", "8 x 400 Gb/s"')

    @field_validator("*")
    @classmethod
    def _is_understood(cls, text: str | None, info: ValidationInfo) -> str | None:
        if text is not None:
            expectation.parse({str(info.field_name): text})
        return text


class HostFile(BaseModel):
    """One host of an inventory: `inventories/<inventory>/<host>.yaml`."""

    model_config = ConfigDict(extra="forbid")

    address: str = Field(min_length=1, description="what SSH connects to: a name or an IP address")
    user: str = Field(default="root", min_length=1, description="may use sudo without a password")
    port: int = Field(default=22, gt=0, lt=65536)
    ssh_key: Path | None = Field(default=None, description="private key; absent: agent and default keys")
    ssh_config: Path | None = Field(default=None, description="an ssh_config file, for jump hosts")
    groups: list[str] = Field(default_factory=lambda: [DEFAULT_GROUP], min_length=1)
    gpus: str | None = Field(default=None, description="as ordered, e.g. a10gx4; `ingot plan` offline")
    expect: Expect | None = Field(default=None, description="what was ordered")
    serve: Any = Field(default=None, description="as in group_data/all.py")
    values: dict[str, Any] = Field(default_factory=dict, description="overrides of group_data/all.py")

    @field_validator("groups")
    @classmethod
    def _groups_are_identifiers(cls, groups: list[str]) -> list[str]:
        for group in groups:
            if not group.isidentifier() or group.startswith("_") or group == "all":
                raise ValueError(f"{group!r} cannot be a group: use letters, digits and underscores")
        return groups


@dataclass(frozen=True)
class Fleet:
    """The hosts of one inventory, as pyinfra wants them: `(name, data)` per group."""

    members: tuple[tuple[str, tuple[str, ...], Mapping[str, Any]], ...]

    def groups(self) -> dict[str, list[tuple[str, dict[str, Any]]]]:
        """Every group that a host file names: a group exists as soon as one host file names it."""
        # If every file is wrong, their hosts still need a group to be reported: the default one.
        named = {group for _, groups, _ in self.members for group in groups} or {DEFAULT_GROUP}
        return {name: self.group(name) for name in sorted(named)}

    def group(self, name: str) -> list[tuple[str, dict[str, Any]]]:
        """Hosts of one group; a host whose file is wrong is in every group, so that it is reported."""
        return [
            (f"@ingot/{host}", dict(data)) for host, groups, data in self.members if name in groups or ERROR_KEY in data
        ]


def load(directory: Path | str) -> Fleet:
    """Read every host file of a directory.

    A wrong file does not stop the others: its host carries the sentence under `ERROR_KEY`. What values are is judged
    later, with those of the host's groups.

    Raises: InventoryError when the directory is missing or holds no host file.
    """
    root = Path(directory)
    if not root.is_dir():
        raise InventoryError(f"inventory {root}: no such directory; create it, one <host>.yaml per host.")
    files = sorted(path for path in root.iterdir() if path.suffix in {".yaml", ".yml"})
    if not files:
        raise InventoryError(f"inventory {root}: no host file in it; write one <host>.yaml per host.")
    read = [(path, *_read(path)) for path in files]
    twins = _Twins(read)
    members: list[tuple[str, tuple[str, ...], Mapping[str, Any]]] = []
    for path, parsed, problem in read:
        error = twins.sentence(path, parsed) or problem
        if parsed is None or error:
            groups = tuple(parsed.groups) if parsed else _stated_groups(path)
            members.append((path.stem, groups, {ERROR_KEY: error}))
        else:
            members.append((path.stem, tuple(parsed.groups), _host_data(path, parsed)))
    return Fleet(tuple(members))


class _HostFileLoader(yaml.SafeLoader):
    """A YAML loader that refuses a key that is given twice; PyYAML would silently take the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"`{key.value}` again", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


class _Twins:
    """Host files that share a name or an address: all of them are refused."""

    def __init__(self, read: list[tuple[Path, HostFile | None, str | None]]) -> None:
        self.by_name: dict[str, list[Path]] = defaultdict(list)
        self.by_address: dict[tuple[str, int], list[Path]] = defaultdict(list)
        for path, parsed, _ in read:
            self.by_name[path.stem].append(path)
            if parsed:
                self.by_address[parsed.address, parsed.port].append(path)

    def sentence(self, path: Path, host: HostFile | None) -> str | None:
        same_name = self.by_name[path.stem]
        if len(same_name) > 1:
            return f"{path.stem}: {' and '.join(map(str, same_name))} name the same host; keep one of them."
        others = [other for other in self.by_address[host.address, host.port] if other != path] if host else []
        if host and others:
            return (
                f"{path.stem}: {path} has the address {host.address}, which {others[0]} has too; "
                "give every host its own."
            )
        return None


def _read(path: Path) -> tuple[HostFile | None, str | None]:
    """A host file parsed, or the sentence that says what is wrong with it."""
    name = path.stem
    if not is_member_name(name):
        return None, (
            f"{name}: {path} names its host {name!r}, which is no host name; "
            "rename the file using a-z, 0-9, '-' and '.', at most 63 characters."
        )
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _HostFileLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        return (
            None,
            f"{name}: {path}{line} is not YAML ({getattr(error, 'problem', None) or error}); correct that line.",
        )
    # A ValueError is a text that is not UTF-8, or what YAML takes for a date that no calendar has.
    except (OSError, ValueError) as error:
        return None, f"{name}: {path} cannot be read ({error}); correct the file."
    if not isinstance(content, dict):
        return None, f"{name}: {path} holds no keys; a host file needs at least `address:`."
    try:
        parsed = HostFile.model_validate(content)
    except ValidationError as error:
        return None, f"{name}: {path}: {'; '.join(_sentences(error))}."
    unknown = sorted(set(parsed.values) - set(NAMES))
    if unknown:
        return None, (
            f"{name}: {path}: values.{unknown[0]} is not a value of group_data/all.py"
            f"{_did_you_mean(unknown[0], NAMES)}; correct the name or remove it."
        )
    return parsed, None


def _stated_groups(path: Path) -> tuple[str, ...]:
    """The groups that a wrong file still states: a fleet must not lose its gateway by a typo in the gateway's file."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return ()
    stated = content.get("groups") if isinstance(content, dict) else None
    groups = [group for group in stated if isinstance(group, str)] if isinstance(stated, list) else []
    return tuple(group for group in groups if group.isidentifier() and not group.startswith("_") and group != "all")


def _sentences(error: ValidationError) -> Iterator[str]:
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            model = Expect if key.startswith("expect.") else HostFile
            hint = _did_you_mean(str(problem["loc"][-1]), model.model_fields)
            yield f"unknown key `{key}`{hint}, remove it or correct its name"
        elif problem["type"] == "missing":
            yield f"`{key}` is missing, add it"
        else:
            yield f"`{key}` is {problem['input']!r}: {problem['msg'][:1].lower()}{problem['msg'][1:]}"


def _did_you_mean(word: str, candidates: Iterable[str]) -> str:
    close = get_close_matches(word, list(candidates), n=1)
    return f" (did you mean `{close[0]}`?)" if close else ""


def _host_data(path: Path, host: HostFile) -> dict[str, Any]:
    data: dict[str, Any] = {
        **host.values,
        HOST_FILE: str(path),
        "ssh_hostname": host.address,
        "ssh_user": host.user,
        "ssh_port": host.port,
        # A key that is not pinned is refused: `ingot onboard` pins it.
        "ssh_known_hosts_file": str(path.parent / "known_hosts"),
        "ssh_strict_host_key_checking": "yes",
        "_sudo": host.user != "root",
    }
    if host.ssh_key:
        data["ssh_key"] = str(_in_checkout(path, host.ssh_key))
    if host.ssh_config:
        data["ssh_config_file"] = str(_in_checkout(path, host.ssh_config))
    if host.gpus:
        data["gpus"] = host.gpus
    if host.expect:
        data["expect"] = host.expect.model_dump(exclude_none=True)
    if host.serve is not None:
        data["serve"] = host.serve
    return data


def _in_checkout(host_file: Path, path: Path) -> Path:
    """A path of a host file: `~` is the user's home, a relative one begins at the checkout, wherever that lies."""
    root = next((one for one in host_file.resolve().parents if (one / "group_data").is_dir()), Path())
    return root / path.expanduser()
