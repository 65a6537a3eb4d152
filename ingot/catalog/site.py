"""Models that a site describes in a file beside its inventories, as `ingot models add` writes them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from ingot.catalog import entry
from ingot.sizing.errors import CatalogError

#: Beside the inventories, under the checkout.
DEFAULT = Path("inventories/models.site.yaml")
HEAD = "# Models of this site, as docs/models.md describes them. `ingot models add` writes here; edit them freely.\n"


def read(path: Path) -> Mapping[str, Any]:
    """The entries of a file by name; none where there is no such file. Raises: CatalogError for one that is wrong."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return {}
    return _read(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=8)
def _read(path: Path, mtime_ns: int, size: int) -> Mapping[str, Any]:
    try:
        stored = yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise CatalogError(f"{path} cannot be read ({error}): correct it.") from error
    if not isinstance(stored or {}, Mapping):
        raise CatalogError(f"{path} holds {type(stored).__name__}, expected models by name: correct it.")
    for name, one in (stored or {}).items():
        try:
            entry.model(str(name), one)
        except CatalogError as error:
            raise CatalogError(f"{path}: {error}") from error
    return dict(stored or {})


def write(entries: Mapping[str, Any]) -> str:
    """Entries as their file holds them: each config on a line of its own."""
    return HEAD + yaml.dump(dict(entries), Dumper=_Dumper, sort_keys=False, width=10**6, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    """Writes configs, arguments and variants on one line each."""

    def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> yaml.MappingNode:
        open_ = "config" in mapping and "variants" in mapping
        outer = any(isinstance(value, Mapping) and "variants" in value for value in dict(mapping).values())
        return super().represent_mapping(tag, mapping, flow_style=not (open_ or outer))
