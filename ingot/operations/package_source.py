"""A value of `sources` becomes a repository of packages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ingot.operations.packages import Source


def upstream(name: str, value: Mapping[str, Any], repository: str) -> Source:
    """A package source from its value; `repository` is `distro/arch` and fills `{repository}`.

    A key that differs between distributions is a mapping by distribution.
    """
    distro = repository.partition("/")[0]

    def of(key: str) -> str:
        entry = value[key]
        text = entry.get(distro, entry["default"]) if isinstance(entry, Mapping) else entry
        return str(text).replace("{repository}", repository)

    return Source(name, of("uri"), of("suite"), of("component"), of("key_url"), of("key_fingerprint"))
