"""What an engine's image asks of a driver, read from its name and its engine's version: dated, with its source."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ingot.compat.machine import Image, version_key

#: Published tags end in the CUDA they were built with where it is not the release's default: v0.32.0-cu129.
_SUFFIX = re.compile(r"-cu([0-9]{2})([0-9])\b")


@dataclass(frozen=True, slots=True)
class Build:
    """The default CUDA of a vLLM release and those after it, and the oldest capability that it has code for."""

    since: str
    cuda: tuple[int, int]
    capability: tuple[int, int]


# Source: tags of vllm/vllm-openai and NVIDIA Model-Optimizer's notes on them, read 2026-11-22: up to 0.19 the plain
# tag is CUDA 12 and -cu130 is CUDA 13; since 0.20 the plain tag is CUDA 13 and -cu129 is CUDA 12.9. Volta: removed
# in CUDA 13 and from vLLM's published builds with it.
VLLM_BUILDS = (
    Build("0", (12, 8), (7, 0)),
    Build("0.20", (13, 0), (7, 5)),
)
#: vLLM's images carry CUDA's forward-compatibility libraries, and use them where this variable says so.
COMPATIBILITY = "VLLM_ENABLE_CUDA_COMPATIBILITY"


def vllm_image(name: str, version: str, cuda: str | None = None, *, compatibility: bool = False) -> Image:
    """The image of a vLLM release: `cuda` (`13.0`) when it is known, else by the tag, else by the release.

    Raises: ValueError when `cuda` is no version.
    """
    build = [one for one in VLLM_BUILDS if version_key(one.since) <= version_key(version)][-1]
    found = _SUFFIX.search(name)
    if cuda is not None:
        stated = re.fullmatch(r"([0-9]{2})\.([0-9]{1,2})", cuda)
        if not stated:
            raise ValueError(f"{cuda!r} is no CUDA version such as 13.0")
        needs = (int(stated.group(1)), int(stated.group(2)))
    elif found:
        needs = (int(found.group(1)), int(found.group(2)))
    else:
        needs = build.cuda
    return Image(name, needs, build.capability, compatibility)
