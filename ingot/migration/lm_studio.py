"""LM Studio: what `lms load` was told, and its folder of downloads (`PUBLISHER/REPOSITORY/FILE.gguf`).

Source: its documentation of the command line and of the models' folder; nothing of it was run.
"""

from __future__ import annotations

from pathlib import Path

from ingot.errors import IngotError
from ingot.migration.gguf_file import trained_context
from ingot.migration.reading import Settings
from ingot.migration.setup import Setup

PROGRAM = "lms"
SWITCHES = frozenset({"y", "yes", "exact"})
READ = frozenset({"context-length", "parallel", "identifier", "gpu", "ttl", "y", "yes", "exact", "model"})
MOST_FILES = 1000

DIFFERENCES = (
    "routes: /api/v0/*, /api/v1/* (load, unload, download, chats, MCP) are closed; /v1/chat/completions, "
    "/v1/completions and /v1/models are open, with a key of a team",
    "models: one model is one item and stays loaded; a request never loads another",
)


def from_settings(settings: Settings, model: str | None) -> Setup:
    """The setup that the words of `lms load` say. Raises: IngotError where no model is named."""
    words = [word for word in settings.words if word not in {"lms", "load"}]
    named = model or (words[0] if words else None)
    if not named:
        raise IngotError("the flags of LM Studio name no model (`lms load MODEL`): give them, or its models' folder.")
    said = list(DIFFERENCES)
    identifier = settings.get("identifier")
    if identifier:
        said.append(f"callers: they asked for {identifier!r}; here the name is the model's, or it is 404")
    if settings.get("ttl"):
        said.append("ttl: the model stays loaded")
    unknown = sorted(set(settings.flags) - READ)
    if unknown:
        said.append(f"not carried over, look at each: {', '.join(f'--{name}' for name in unknown)}")
    publisher, _, rest = named.partition("/")
    repository = f"{publisher}/{rest.partition('/')[0]}" if rest else None
    file = rest.partition("/")[2] if named.endswith(".gguf") else None
    return Setup(
        model=named,
        context=settings.number("context-length"),
        concurrency=settings.number("parallel") or 1,
        repository=repository,
        gguf=file or "",
        differences=tuple(said),
    )


def from_folder(folder: Path, settings: Settings, model: str | None, *, headers: bool = True) -> list[Setup]:
    """Every model of a folder of downloads (or the one that is named). Raises: IngotError where it has none.

    `headers`: the files themselves are there to be read.
    """
    found = []
    for file in sorted(folder.rglob("*.gguf"))[:MOST_FILES]:
        path = file.relative_to(folder)
        later_part = "-of-" in file.name and "-00001-of-" not in file.name
        if len(path.parts) != 3 or file.name.startswith("mmproj") or later_part:
            continue
        repository = "/".join(path.parts[:2])
        if model not in (None, repository, path.as_posix(), file.name, file.stem):
            continue
        trained, problem = trained_context(file) if headers else (None, None)
        said = [*DIFFERENCES, *([f"its file: {problem}"] if problem else [])]
        if any(file.parent.glob("mmproj*.gguf")):
            said.append("projector: pictures are not served from a GGUF file here; the model is served as one of text")
        found.append(
            Setup(
                model=path.as_posix(),
                context=settings.number("context-length"),
                concurrency=settings.number("parallel") or 1,
                repository=repository,
                gguf=file.name,
                trained_context=trained,
                differences=tuple(said),
            )
        )
    if not found:
        raise IngotError(
            f"{folder} has no model{f' {model}' if model else ''} at PUBLISHER/REPOSITORY/FILE.gguf: name it."
        )
    return found
