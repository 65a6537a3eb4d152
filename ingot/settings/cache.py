"""Section "cache": the models on a host's disk."""

from __future__ import annotations

from typing import Annotated

from ingot.settings.kinds import Expected, HostPath, LocalPath, Section


class Cache(Section):
    """Where models lie on a host, and the token that gated ones need."""

    cache_hub_token_file: Annotated[LocalPath | None, Expected("a path on this machine, or None")]
    cache_root: HostPath
