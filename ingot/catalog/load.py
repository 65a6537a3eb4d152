"""Reads the catalog's YAML into the planner's types, a site's own models merged over it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.resources import files
from typing import Any

import yaml

from ingot.sizing.config import architecture_from_config
from ingot.sizing.errors import CatalogError, SizingError
from ingot.sizing.hardware import GPU, Hardware
from ingot.sizing.quantization import SCHEMES
from ingot.sizing.request import Model, Variant
from ingot.sizing.throughput import Peak
from ingot.sizing.units import MIB, gib

MODEL_KEYS = frozenset({"title", "license", "config", "variants"})
VARIANT_KEYS = frozenset(
    {"name", "repository", "revision", "quantization", "config", "checkpoint_bytes", "gated", "min_capability"}
)


@dataclass(frozen=True, slots=True)
class GPUModel:
    """A GPU as one can buy it: what its driver reports and its peak figures (GB/s, dense TFLOP/s)."""

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
    stored = yaml.safe_load((files(__package__) / "gpus.yaml").read_text(encoding="utf-8"))
    return {
        key: GPUModel(key=key, **{**values, "capability": tuple(values["capability"])})
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
    """Hardware like `rtx4090x2`, or several joined by `+`. Raises CatalogError for a GPU nobody listed."""
    gpus: list[GPU] = []
    for part in name.lower().replace(" ", "").split("+"):
        key, count = part, 1
        if part not in load_gpus():
            key, separator, number = part.rpartition("x")
            if not separator or not number.isdigit() or not 1 <= int(number) <= 64:
                key = ""
            else:
                count = int(number)
        if key not in load_gpus():
            raise CatalogError(
                f"{name!r} is not a GPU of the catalog, expected <gpu>x<count> with one of "
                f"{', '.join(load_gpus())}: add it to ingot/catalog/gpus.yaml."
            )
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


def load_models(site: Mapping[str, Any] | None = None) -> dict[str, Model]:
    """Every model of the catalog by name, with a site's own merged over it. Raises CatalogError."""
    models = dict(_own_models())
    for name, entry in (site or {}).items():
        if isinstance(entry, Mapping) and set(entry) == {"revisions"}:
            models[name] = _pinned(models, name, entry["revisions"])
        else:
            models[name] = _model(name, entry)
    return models


def _pinned(models: Mapping[str, Model], name: str, revisions: Any) -> Model:
    """A model of the catalog at the commits that a site chose, by variant."""
    if name not in models:
        raise CatalogError(f"site_models pins {name!r}, which is in no catalog, expected one of {', '.join(models)}.")
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
def _own_models() -> Mapping[str, Model]:
    stored = yaml.safe_load((files(__package__) / "models.yaml").read_text(encoding="utf-8"))
    return {name: _model(name, entry) for name, entry in stored.items()}


def _model(name: str, entry: Any) -> Model:
    _keys(f"model {name}", entry, MODEL_KEYS, required=("config", "variants"))
    if not isinstance(entry["variants"], list) or not entry["variants"]:
        raise CatalogError(f"The catalog's model {name} has no variants, expected a list of at least one.")
    variants = [_variant(name, entry["config"], variant) for variant in entry["variants"]]
    names = [variant.name for variant in variants]
    if len(set(names)) != len(names):
        raise CatalogError(f"The catalog's model {name} has two variants of one name ({', '.join(names)}).")
    variants.sort(key=lambda variant: (-variant.quality, variant.name))
    return Model(name, tuple(variants), str(entry.get("title") or name), str(entry.get("license") or "unknown"))


def _variant(model: str, config: Mapping[str, Any], entry: Any) -> Variant:
    where = f"model {model}, variant {entry.get('name') if isinstance(entry, Mapping) else entry!r}"
    _keys(where, entry, VARIANT_KEYS, required=("name", "repository"))
    quantization = str(entry.get("quantization") or "none")
    if quantization not in SCHEMES:
        raise CatalogError(
            f"The catalog's {where} has quantization {quantization!r}, expected one of {', '.join(SCHEMES)}."
        )
    try:
        architecture = architecture_from_config({**config, **(entry.get("config") or {})})
    except SizingError as error:
        raise CatalogError(f"The catalog's {where}: {error}") from error
    scheme = SCHEMES[quantization]
    capability = entry.get("min_capability")
    return Variant(
        name=str(entry["name"]),
        repository=str(entry["repository"]),
        revision=None if entry.get("revision") is None else str(entry["revision"]),
        quantization=quantization,
        architecture=architecture,
        quality=scheme.quality,
        checkpoint_bytes=entry.get("checkpoint_bytes"),
        min_capability=tuple(capability) if capability else scheme.min_capability,
        gated=bool(entry.get("gated")),
    )


def _keys(where: str, entry: Any, known: frozenset[str], *, required: tuple[str, ...]) -> None:
    if not isinstance(entry, Mapping):
        raise CatalogError(
            f"The catalog's {where} is {type(entry).__name__}, expected keys {', '.join(sorted(known))}."
        )
    unknown = sorted(set(entry) - known)
    if unknown:
        raise CatalogError(f"The catalog's {where} has unknown keys {', '.join(unknown)}, expected {sorted(known)}.")
    for key in required:
        if not entry.get(key):
            raise CatalogError(f"The catalog's {where} lacks the key {key!r}.")
