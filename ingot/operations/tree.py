"""Directories, files and links of a role in one operation: one look, one atomic write, secrets never shown."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from importlib.resources import files

from pyinfra.api.command import PyinfraCommand, StringCommand
from pyinfra.context import host

from ingot.facts.paths import Paths, PathsLook, PathState
from ingot.operations import changes
from ingot.operations.bundle import pack
from ingot.operations.operation import operation
from ingot.operations.refuse import refuse
from ingot.operations.standing import standing

SCRIPT = (files(__package__) / "tree.sh").read_text()


@dataclass(frozen=True, slots=True)
class Dir:
    """A directory; what is in it stays."""

    path: str
    user: str = "root"
    group: str = "root"
    mode: str = "0755"


@dataclass(frozen=True, slots=True)
class File:
    """A file with exactly this content. A `secret` one is never shown, not even under `--diff`."""

    path: str
    content: str | bytes = field(repr=False)
    user: str = "root"
    group: str = "root"
    mode: str = "0644"
    secret: bool = False

    @property
    def bytes(self) -> bytes:
        """The content as it is written."""
        return self.content.encode() if isinstance(self.content, str) else self.content

    @property
    def sha256(self) -> str:
        """The digest that the host's copy must have."""
        return hashlib.sha256(self.bytes).hexdigest()


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link to `target`."""

    path: str
    target: str


@dataclass(frozen=True, slots=True)
class Absent:
    """Nothing at `path`: a file is deleted, a directory with all that is in it."""

    path: str


Entry = Dir | File | Link | Absent


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the plan that `tree.sh` follows, and the sentence that announces it."""

    line: tuple[str, ...]
    sentence: str
    entry: Entry | None = None


@dataclass(frozen=True, slots=True)
class TreePlan:
    """What differs: steps to take, or conflicts that a person must resolve first."""

    steps: tuple[Step, ...]
    conflicts: tuple[str, ...] = ()


def check(entries: Sequence[Entry]) -> None:
    """Raises: ValueError for a path that is relative, given twice, too near the root, or has a tab."""
    seen: set[str] = set()
    for entry in entries:
        path = entry.path
        if not path.startswith("/") or path != path.rstrip("/") or "\t" in path or "\n" in path or "//" in path:
            raise ValueError(f"{path!r} is not an absolute path without trailing slash, tab or newline")
        if isinstance(entry, Absent) and path.count("/") < 2:
            raise ValueError(f"refusing to delete {path}: a directory of the root")
        if path in seen:
            raise ValueError(f"{path} is described twice in one tree")
        seen.add(path)


def compare(entries: Sequence[Entry], look: PathsLook) -> TreePlan:
    """What to do so that the host agrees with the entries, in order: sweep, directories, files, the rest."""
    steps = [Step(("sweep", path), f"remove {path}, left by a run that was cut off") for path in look.leftovers]
    conflicts: list[str] = []
    for entry in sorted(entries, key=lambda entry: not isinstance(entry, Dir)):
        now = look.paths.get(entry.path)
        if isinstance(entry, Dir):
            found = _dir(entry, now)
        elif isinstance(entry, File):
            found = _file(entry, now)
        elif isinstance(entry, Link):
            found = _link(entry, now)
        else:
            found = Step(("absent", entry.path), f"delete {entry.path}", entry) if now else None
        if isinstance(found, str):
            conflicts.append(found)
        elif found:
            steps.append(found)
    return TreePlan(tuple(steps), tuple(conflicts))


def _dir(entry: Dir, now: PathState | None) -> Step | str | None:
    line = ("dir", entry.path, entry.user, entry.group, entry.mode)
    if now is None:
        return Step(line, f"create directory {entry.path} ({_owned(entry)})", entry)
    if now.kind == "link":
        return f"{entry.path} is a link to {now.target} where a directory was expected; remove it"
    if now.kind != "dir":
        return f"{entry.path} is a {now.kind} where a directory was expected; move it away"
    return _own(entry, now)


def _file(entry: File, now: PathState | None) -> Step | str | None:
    if now is not None and now.kind in ("dir", "other"):
        return f"{entry.path} is a {now.kind} where a file was expected; move it away"
    if now is not None and now.sha256 == entry.sha256:
        return _own(entry, now)
    new = entry.sha256[:8]
    if now is None:
        what = f"new, {_owned(entry)}, sha256 {new}"
    elif now.kind == "link":
        what = f"in place of a link to {now.target}, {_owned(entry)}, sha256 {new}"
    else:
        what = f"sha256 {(now.sha256 or 'unknown')[:8]} -> {new}"
    secret = "secret, " if entry.secret else ""
    line = ("file", entry.path, entry.user, entry.group, entry.mode)
    return Step(line, f"write {entry.path} ({secret}{what})", entry)


def _link(entry: Link, now: PathState | None) -> Step | str | None:
    if now is not None and now.kind == "dir":
        return f"{entry.path} is a directory where a link to {entry.target} was expected; move it away"
    if now is not None and now.kind == "link" and now.target == entry.target:
        return None
    return Step(("link", entry.path, entry.target), f"link {entry.path} -> {entry.target}", entry)


def _own(entry: Dir | File, now: PathState) -> Step | None:
    as_named = entry.user in (now.user, now.uid) and entry.group in (now.group, now.gid)
    if as_named and now.mode == entry.mode.zfill(4):
        return None
    line = ("own", entry.path, entry.user, entry.group, entry.mode)
    return Step(line, f"set {entry.path} to {_owned(entry)}, was {now.user}:{now.group} {now.mode}", entry)


def _owned(entry: Dir | File) -> str:
    return f"{entry.user}:{entry.group} {entry.mode.zfill(4)}"


def payload(plan: TreePlan, host_name: str, entries: Sequence[Entry], validate: str | None) -> str:
    """What goes to the standard input of `tree.sh`; the same for the same plan.

    With a validator every file travels, changed or not, so that it sees the whole set.
    """
    lines = [("host", host_name), *(step.line for step in plan.steps)]
    members = {"plan": "".join("\t".join(line) + "\n" for line in lines).encode()}
    changed = {step.entry.path for step in plan.steps if step.entry and step.line[0] == "file"}
    if validate and changed:
        members["validate"] = validate.encode()
    for entry in entries:
        if isinstance(entry, File) and (entry.path in changed or "validate" in members):
            members[f"root{entry.path}"] = entry.bytes
    return pack(members)


@operation()
def tree(entries: Sequence[Entry], validate: str | None = None) -> Generator[PyinfraCommand, None, None]:
    """
    Make directories, files and links as described, in one look and at most one write.

    + entries: Dir, File, Link and Absent, each path once
    + validate: command run once over the staged set before anything is installed; `{stage}` is its root

    Files are written beside their targets, synced and renamed, so a power loss leaves the old or the new.
    When nothing but owners or modes differ, the validator is not run.

    **Example:**

    .. code:: python

        tree.tree(
            name="Configure nginx",
            entries=(tree.Dir("/etc/nginx/keys", mode="0700"), tree.File("/etc/nginx/nginx.conf", text)),
            validate="nginx -t -c {stage}/etc/nginx/nginx.conf",
        )
    """
    check(entries)
    secret = {entry.path for entry in entries if isinstance(entry, File) and entry.secret}
    shown = [entry.path for entry in entries if isinstance(entry, File) and entry.path not in secret]
    look = standing(
        host, Paths, paths=[entry.path for entry in entries], contents=shown if changes.wants_diff() else []
    )
    plan = compare(entries, look)
    if plan.conflicts:
        yield refuse(f"{host.name}: {'; '.join(plan.conflicts)}; nothing was changed")
        return
    if not plan.steps:
        host.noop(f"{len(entries)} paths are already as described")
        return
    changes.announce(step.sentence for step in plan.steps)
    if changes.wants_diff():
        for step in plan.steps:
            if isinstance(step.entry, File) and step.line[0] == "file" and step.entry.path not in secret:
                now = look.paths.get(step.entry.path)
                changes.show_diff(step.entry.path, (now and now.content) or b"", step.entry.bytes)
    yield StringCommand(SCRIPT, _stdin=payload(plan, host.name, entries, validate))
