"""What lies beside a model's weights on a host: a draft's, and adapters', each in a directory of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Protocol

from ingot.sizing import Adapter, ModelRequest, Speculation


class Weights(Protocol):
    """Files of a repository at one commit, and where they lie below a cache root and a model's name."""

    @property
    def name(self) -> str: ...
    @property
    def repository(self) -> str: ...
    @property
    def revision(self) -> str | None: ...
    @property
    def directory(self) -> PurePosixPath: ...


@dataclass(frozen=True, slots=True)
class Beside:
    """A draft's or an adapter's files."""

    name: str
    repository: str
    revision: str | None

    @property
    def directory(self) -> PurePosixPath:
        """Where they lie below a cache root and the name that they belong to."""
        return PurePosixPath(self.name) / (self.revision or "unpinned")


def of_draft(speculation: Speculation | None) -> Beside | None:
    """A draft's own files; none where it is part of the model's, or needs none."""
    if speculation is None or speculation.repository is None:
        return None
    return Beside("draft", speculation.repository, speculation.revision)


def of_adapter(adapter: Adapter) -> Beside:
    """An adapter's files."""
    return Beside("adapter", adapter.repository, adapter.revision)


def owners(request: ModelRequest) -> list[tuple[str, Beside]]:
    """What a request needs besides a variant: by the name below which it lies."""
    draft = of_draft(request.speculation)
    adapters = [(adapter.name, of_adapter(adapter)) for adapter in request.adapters]
    return [*([(request.model.name, draft)] if draft else []), *adapters]
