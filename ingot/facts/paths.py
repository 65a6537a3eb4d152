"""Directories and files as they are: type, owner, mode and digest of many paths in one command."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field

from pyinfra.api.facts import FactBase

from ingot.facts.sections import Question, split

#: What a run that was killed between writing and renaming leaves next to the target: named after its process, and
#: before that after nothing.
STAGED = (".ingot-????????", ".ingot-[0-9]*.????????")
#: Where whole sets of files are staged and validated; on a tmpfs, so that secrets never reach a disk there.
STAGING = "/run/ingot/stage.*"


@dataclass(frozen=True, slots=True)
class PathState:
    """One existing path. `kind` is file, dir, link or other; `mode` has four octal digits.

    `uid` and `gid` are the numbers behind the names, which an owner may be given as.
    """

    kind: str
    user: str
    group: str
    mode: str
    target: str | None = None
    sha256: str | None = None
    content: bytes | None = field(default=None, repr=False)
    uid: str = ""
    gid: str = ""


@dataclass(frozen=True, slots=True)
class PathsLook:
    """The paths that exist, and the leftovers of killed runs found beside them."""

    paths: dict[str, PathState]
    leftovers: tuple[str, ...] = ()


_KINDS = {"f": "file", "d": "dir", "l": "link"}


def parse_paths(found: str, digests: str, leftovers: str, contents: str = "") -> PathsLook:
    """The answers of `find -printf`, `sha256sum`, `ls` and base64 as one value.

    Returns: PathsLook({"/etc/ingot": PathState("dir", "root", "root", "0755")}, ())
    """
    sums = {line[66:]: line[:64] for line in digests.splitlines() if len(line) > 66}
    texts: dict[str, bytes] = {}
    for line in contents.splitlines():
        path, _, encoded = line.partition("\t")
        texts[path] = base64.b64decode(encoded)
    paths: dict[str, PathState] = {}
    for line in found.splitlines():
        parts = line.split("\t")
        if len(parts) != 8:
            continue
        kind, user, group, uid, gid, mode, target, path = parts
        paths[path] = PathState(
            kind=_KINDS.get(kind, "other"),
            user=user,
            group=group,
            mode=mode.zfill(4),
            target=target or None,
            sha256=sums.get(path) if kind == "f" else None,
            content=texts.get(path) if kind == "f" else None,
            uid=uid,
            gid=gid,
        )
    return PathsLook(paths, tuple(line for line in leftovers.splitlines() if line))


class Paths(FactBase[PathsLook]):
    """What exists at `paths`, with the text of those in `contents` (never ask for a secret's).

    Returns: PathsLook({"/etc/ingot/a.conf": PathState("file", "root", "root", "0644", sha256="…")}, ())
    """

    def command(self, paths: Sequence[str], contents: Sequence[str] = ()) -> str:
        quoted = " ".join(shlex.quote(path) for path in paths)
        parents = dict.fromkeys(path.rpartition("/")[0] or "/" for path in paths)
        globs = " ".join(f"{shlex.quote(parent)}/{name}" for parent in parents for name in STAGED)
        questions = {
            "found": f"find {quoted} -maxdepth 0 -printf '%y\\t%u\\t%g\\t%U\\t%G\\t%m\\t%l\\t%p\\n' 2>/dev/null",
            "digests": f"find {quoted} -maxdepth 0 -type f -exec sha256sum -- {{}} + 2>/dev/null",
            # Beside its targets tree.sh makes files and links, and no directories: such a one is somebody else's.
            # What belongs to a process that is there is another run's, which is at work.
            "leftovers": "left() { p=${1##*/}; p=${p#stage.}; p=${p#.ingot-}; "
            '[ -d "/proc/${p%%.*}" ] || echo "$1"; }; '
            f'for f in {STAGING}; do [ ! -e "$f" ] || left "$f"; done; '
            f'for f in {globs}; do [ ! -f "$f" ] && [ ! -L "$f" ] || left "$f"; done',
        }
        if contents:
            texts = " ".join(shlex.quote(path) for path in contents)
            questions["contents"] = (
                f'for f in {texts}; do [ ! -f "$f" ] || printf \'%s\\t%s\\n\' "$f" "$(base64 -w0 <"$f")"; done'
            )
        return Question.of(questions)

    @staticmethod
    def default() -> PathsLook:
        return PathsLook({})

    def process(self, output: list[str]) -> PathsLook:
        answers = split(output)
        contents = answers.get("contents")
        return parse_paths(
            answers["found"].output,
            answers["digests"].output,
            answers["leftovers"].output,
            contents.output if contents else "",
        )
