"""Reads the catalog's YAML into the planner's types, a site's own models merged over it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.resources import files
from typing import Any

import yaml

from ingot.catalog import entry, names
from ingot.catalog.models_by_name import Models
from ingot.sizing.errors import CatalogError
from ingot.sizing.hardware import GPU, Hardware
from ingot.sizing.pace import Peak
from ingot.sizing.request import Model
from ingot.sizing.units import MIB, gib

#: libyaml's loader where it was built in: several times faster.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


#: The line that begins an entry of a file of models.
_ENTRY = re.compile(r"^([A-Za-z0-9][\w.-]*):$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class GPUModel:
    """A GPU as one can buy it: what its driver reports and its peak figures (GB/s, dense TFLOP/s).

    `also` are names of people's beside the driver's.
    """

    key: str
    name: str
    memory_mib: int
    capability: tuple[int, int]
    bandwidth_gb: float
    bf16_tflops: float
    tier: str
    largest: int
    cuda_gib: float | None = None
    fp8_tflops: float | None = None
    nvlink: bool = False
    unified: bool = False
    also: tuple[str, ...] = ()

    def hardware(self, count: int, host: str = "") -> Hardware:
        """A host with `count` of this GPU and nothing else running on them."""
        memory = self.memory_mib * MIB
        reserved = None if self.cuda_gib is None else max(memory - gib(self.cuda_gib), 0)
        gpus = tuple(
            GPU(
                index=index,
                uuid=f"GPU-{self.key}-{index}",
                name=self.name,
                vram_bytes=memory,
                compute_capability=self.capability,
                nvlink_peers=frozenset(set(range(count)) - {index}) if self.nvlink else frozenset(),
                unified_memory=self.unified,
                reserved_bytes=reserved,
            )
            for index in range(count)
        )
        return Hardware(host or f"{self.key}x{count}", gpus)


@lru_cache(maxsize=1)
def load_gpus() -> Mapping[str, GPUModel]:
    """Every GPU of the catalog by its key."""
    stored = yaml.load((files(__package__) / "gpus.yaml").read_text(encoding="utf-8"), Loader=_LOADER)
    return {
        key: GPUModel(
            key=key,
            **{**values, "capability": tuple(values["capability"]), "also": tuple(values.get("also", ()))},
        )
        for key, values in stored.items()
    }


@lru_cache(maxsize=1)
def peaks() -> Mapping[str, Peak]:
    """Peak figures of every GPU of the catalog by the name its driver reports."""
    return {
        gpu.name: Peak(
            bandwidth=gpu.bandwidth_gb * 1e9,
            flops=gpu.bf16_tflops * 1e12,
            flops_fp8=gpu.fp8_tflops * 1e12 if gpu.fp8_tflops else None,
        )
        for gpu in load_gpus().values()
    }


def hardware_from_name(name: str) -> Hardware:
    """Hardware like `rtx4090x2`, `RTX 4090` or what nvidia-smi prints, or several joined by `+`.

    Raises: CatalogError for a GPU that is in no catalog.
    """
    gpus: list[GPU] = []
    known = {key: names.CardNames(gpu.name, gpu.memory_mib / 1024, gpu.also) for key, gpu in load_gpus().items()}
    for part in name.split("+"):
        found = names.find_gpus(part, known)
        if found is None:
            raise CatalogError(
                f"{part.strip()!r} is not a GPU of the catalog, expected <gpu>x<count> such as rtx4090x2, up to 64"
                f"{names.nearest_gpus(part, known)}; correct it, or add it to ingot/catalog/gpus.yaml."
            )
        key, count = found
        offset = len(gpus)
        for gpu in load_gpus()[key].hardware(count).gpus:
            index = gpu.index + offset
            peers = frozenset(peer + offset for peer in gpu.nvlink_peers)
            gpus.append(
                GPU(
                    index=index,
                    uuid=f"GPU-{key}-{index}",
                    name=gpu.name,
                    vram_bytes=gpu.vram_bytes,
                    compute_capability=gpu.compute_capability,
                    nvlink_peers=peers,
                    unified_memory=gpu.unified_memory,
                    reserved_bytes=gpu.reserved_bytes,
                )
            )
    return Hardware(name, tuple(gpus))


def load_models(site: Mapping[str, Any] | None = None) -> Mapping[str, Model]:
    """Every model of the catalog by name, with a site's own merged over it. Raises CatalogError for one of a site's."""
    own = _own_models()
    merged = Models(site or {}, lambda name: _of_site(own, name, (site or {})[name]), own)
    for name in site or {}:
        merged[name]
    return merged


#: The models of a site by name and values: all hosts of a fleet have the same.
_OF_SITE: dict[tuple[str, str], Model] = {}


def _of_site(own: Mapping[str, Model], name: str, value: Any) -> Model:
    # Values that are equal and of other types, such as True and 1, are not written alike.
    key = (name, repr(value))
    if key not in _OF_SITE:
        if isinstance(value, Mapping) and set(value) == {"revisions"}:
            _OF_SITE[key] = _pinned(own, name, value["revisions"])
        else:
            _OF_SITE[key] = entry.model(name, value)
    return _OF_SITE[key]


def _pinned(models: Mapping[str, Model], name: str, revisions: Any) -> Model:
    """A model of the catalog at the commits that a site chose, by variant."""
    if name not in models:
        raise CatalogError(f"site_models pins {name!r}, which is in no catalog{names.nearest(name, models)}.")
    known = [variant.name for variant in models[name].variants]
    if not isinstance(revisions, Mapping) or set(revisions) - set(known):
        raise CatalogError(
            f"site_models: revisions of {name} are {revisions!r}, expected variant: commit, of {', '.join(known)}."
        )
    pinned = (
        replace(variant, revision=str(revisions[variant.name])) if variant.name in revisions else variant
        for variant in models[name].variants
    )
    return replace(models[name], variants=tuple(pinned))


@lru_cache(maxsize=1)
def _own_models() -> Models:
    stored: dict[str, str] = {}
    for file in sorted((files(__package__) / "models").iterdir(), key=lambda file: file.name):
        if file.name.endswith(".yaml"):
            stored |= entries_of(file.read_text(encoding="utf-8"))
    return Models(stored, lambda name: entry.model(name, yaml.load(stored[name], Loader=_LOADER)[name]), {})


def entries_of(text: str) -> dict[str, str]:
    """The YAML of each entry of a file of models by its name: of more than a hundred, a run reads those it serves."""
    starts = list(_ENTRY.finditer(text))
    ends = [*(one.start() for one in starts[1:]), len(text)]
    return {one.group(1): text[one.start() : end] for one, end in zip(starts, ends, strict=True)}
