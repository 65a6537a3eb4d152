"""What group_data says where hosts have a bundle: the same upstreams, at the bundle's place."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pprint import pformat
from typing import Any

from ingot.bundle.manifest import Manifest


def values(bundle: Manifest, base: str) -> dict[str, dict[str, Any]]:
    """The values of each host; `base` is where the bundle is, an address."""
    return {name: _placed(said, base) for name, said in bundle.values.items()}


def _placed(said: Mapping[str, Any], base: str) -> dict[str, Any]:
    text = json.dumps(said)
    # A path on the host, where an address of a file is none.
    path = base.removeprefix("file://")
    found: dict[str, Any] = json.loads(text.replace("{base}", base))
    for name in said:
        if name.endswith("_image_archive"):
            found[name] = str(said[name]).replace("{base}", path)
    for engine, one in said.get("engine_images", {}).items():
        found["engine_images"][engine]["archive"] = str(one["archive"]).replace("{base}", path)
    return found


def shared(each: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The values that no two hosts have differently."""
    said = {name: [one[name] for one in each.values() if name in one] for one in each.values() for name in one}
    return {name: values[0] for name, values in said.items() if all(one == values[0] for one in values)}


def as_python(each: Mapping[str, Mapping[str, Any]]) -> str:
    """Lines for the end of group_data/all.py, and what single hosts say in their files as comments."""
    common = shared(each)
    lines = ["# From a bundle: `ingot bundle values`."]
    lines += [f"{name} = {pformat(value, width=110, sort_dicts=False)}" for name, value in common.items()]
    for host, said in each.items():
        own = {name: value for name, value in said.items() if name not in common}
        lines += [f"# In the file of {host}: {json.dumps(own)}"] if own else []
    return "\n".join(lines) + "\n"
