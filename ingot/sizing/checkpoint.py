"""Weights as the files themselves state them: safetensors headers, sorted into what each rank loads.

A header is a few hundred kilobytes at the start of a file; no tensor is read.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ingot.sizing.architecture import Architecture, Split
from ingot.sizing.errors import CheckpointMismatch
from ingot.sizing.quantization import SCHEMES
from ingot.sizing.split import Parallel, parameters_on_rank, pipeline_stages
from ingot.sizing.units import DTYPE_BYTES, ceil_div, show_gib

LARGEST_HEADER = 256 * 1024**2
HEADER_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
HEADER_BYTES |= {"F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "U16": 2, "U32": 4, "U64": 8}

_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks|decoder\.layers)\.(\d+)\.")
_EXPERT = re.compile(r"\.experts\.")
_COPY = re.compile(r"norm|router|\.gate\.(?:weight|e_score)|q_a_proj|kv_a_proj|rotary|\.bias$|shared_expert_gate")
_KV = re.compile(r"\.(?:k_proj|v_proj)\.")
_VOCAB = re.compile(r"embed_tokens|lm_head|wte|word_embeddings|embed_out")
_LAST = re.compile(r"lm_head|embed_out|(?:^|\.)norm\.|ln_f|final_layer_?norm")
_ENCODER = re.compile(r"vision|visual|audio|multi_modal_projector|mm_projector|image_newline")
_DRAFT = re.compile(r"(?:^|\.)(?:mtp|nextn)\b|eh_proj|shared_head")


@dataclass(frozen=True)
class Tensor:
    """One tensor of a file: its name and its bytes."""

    name: str
    bytes: int


@dataclass(frozen=True)
class Checkpoint:
    """Every tensor of a model's files."""

    tensors: tuple[Tensor, ...]

    @property
    def total(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.bytes for tensor in self.tensors)

    def __hash__(self) -> int:
        return hash((len(self.tensors), self.total))

    def stages(self, architecture: Architecture, parallel: Parallel) -> tuple[int, ...]:
        """Bytes that one rank of each pipeline stage loads; drafts for speculation are left out."""
        bounds = pipeline_stages(len(architecture.layers), parallel.pipeline)
        held = [0] * len(bounds)
        kv_heads = _kv_heads(architecture)
        for tensor in self.tensors:
            match = _LAYER.search(tensor.name)
            layer = int(match.group(1)) if match else None
            if _DRAFT.search(tensor.name) or (layer is not None and layer >= len(architecture.layers)):
                continue
            encoder = bool(_ENCODER.search(tensor.name))
            if layer is not None and not encoder:
                stages = [next(index for index, (first, last) in enumerate(bounds) if first <= layer < last)]
            elif architecture.tied and _VOCAB.search(tensor.name):
                stages = sorted({0, len(bounds) - 1})
            elif _LAST.search(tensor.name) and not encoder:
                stages = [len(bounds) - 1]
            else:
                stages = [0]
            for stage in stages:
                held[stage] += _on_rank(tensor, parallel, kv_heads, encoder=encoder)
        # What the engine keeps beside the files (the absorbed copy of latent attention) is in no header.
        for stage, (first, last) in enumerate(bounds):
            for layer_spec in architecture.layers[first:last]:
                for group in layer_spec.weights:
                    if not group.is_stored:
                        held[stage] += int(parameters_on_rank(group, parallel) * DTYPE_BYTES[architecture.dtype])
        return tuple(held)

    def check(self, architecture: Architecture, quantization: str) -> None:
        """Raise CheckpointMismatch when files and config cannot describe the same model."""
        layers = {int(match.group(1)) for tensor in self.tensors if (match := _LAYER.search(tensor.name))}
        decoder = {
            int(match.group(1))
            for tensor in self.tensors
            if (match := _LAYER.search(tensor.name)) and not _ENCODER.search(tensor.name)
        }
        if layers and not set(range(len(architecture.layers))) <= decoder:
            raise CheckpointMismatch(
                f"{architecture.name}: the files hold {len(decoder)} layers, config.json says "
                f"{len(architecture.layers)}: fetch the repository again, files and config of one revision."
            )
        scheme = SCHEMES[quantization]
        expected = architecture.parameters * (scheme.element_bytes or DTYPE_BYTES[architecture.dtype])
        native = architecture.parameters * DTYPE_BYTES[architecture.dtype]
        drafts = sum(tensor.bytes for tensor in self.tensors if _DRAFT.search(tensor.name))
        found = self.total - drafts
        if not 0.75 * expected <= found <= 1.25 * max(native, expected):
            raise CheckpointMismatch(
                f"{architecture.name}: the files hold {show_gib(found)}, config.json ({quantization}) describes "
                f"{show_gib(expected)}: fetch the repository again, files and config of one revision."
            )


def parse_headers(headers: Iterable[Mapping[str, Any]]) -> Checkpoint:
    """The checkpoint of several files' headers. Raises CheckpointMismatch for a header that no file can have."""
    tensors = []
    for header in headers:
        for name, described in header.items():
            if name == "__metadata__":
                continue
            try:
                size = HEADER_BYTES[described["dtype"]] * math.prod(int(side) for side in described["shape"])
                start, end = described["data_offsets"]
            except (KeyError, TypeError, ValueError) as error:
                raise CheckpointMismatch(
                    f"The tensor {name!r} is described as {described!r}, expected dtype, shape and data_offsets: "
                    "fetch the file again."
                ) from error
            if end - start != size:
                raise CheckpointMismatch(
                    f"The tensor {name!r} takes {end - start} bytes in its file, its shape needs {size}: "
                    "fetch the file again."
                )
            tensors.append(Tensor(name, size))
    return Checkpoint(tuple(sorted(tensors, key=lambda tensor: tensor.name)))


def read_checkpoint(directory: Path) -> Checkpoint | None:
    """The checkpoint in a directory, from its files' headers; None where there are no safetensors files.

    Raises CheckpointMismatch for a file that is none.
    """
    files = sorted(directory.glob("*.safetensors"))
    return parse_headers(_header(path) for path in files) if files else None


def _header(path: Path) -> Mapping[str, Any]:
    with path.open("rb") as file:
        prefix = file.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else LARGEST_HEADER + 1
        if length > LARGEST_HEADER:
            raise CheckpointMismatch(f"{path.name} is no safetensors file (no header length): fetch it again.")
        try:
            header = json.loads(file.read(length))
        except ValueError as error:
            raise CheckpointMismatch(f"{path.name} is no safetensors file ({error}): fetch it again.") from error
    if not isinstance(header, Mapping):
        raise CheckpointMismatch(f"{path.name} is no safetensors file (its header is no object): fetch it again.")
    return header


def _kv_heads(architecture: Architecture) -> int:
    heads = [group.heads for layer in architecture.layers for group in layer.weights if group.split is Split.KV]
    return max(heads, default=1)


def _on_rank(tensor: Tensor, parallel: Parallel, kv_heads: int, *, encoder: bool) -> int:
    tp = parallel.tensor
    if _EXPERT.search(tensor.name) and not _COPY.search(tensor.name):
        return ceil_div(tensor.bytes, tp * (parallel.data if parallel.expert else 1))
    if not encoder and _COPY.search(tensor.name):
        return tensor.bytes
    if _KV.search(tensor.name):
        return ceil_div(tensor.bytes * max(1, kv_heads // tp), kv_heads)
    return ceil_div(tensor.bytes, tp)
