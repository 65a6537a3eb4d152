"""The oldest version of each engine that may serve, and the holes that newer ones closed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Minimum:
    """The oldest version, and what was wrong before it: an advisory with its words, newest last.

    `never` are holes without a fix, in features that no service of Ingot's turns on.
    """

    version: str
    closed: tuple[str, ...]
    never: tuple[str, ...] = ()


_LLAMA_CPP = Minimum(
    "b8146",
    (
        "CVE-2026-21869, a request with a negative n_discard writes out of bounds",
        "CVE-2026-27940, an integer overflow while it reads a GGUF file",
    ),
)

#: Engine -> its minimum. Where no fix is known for a hole, the version is the one whose flags were read.
MINIMUMS: Mapping[str, Minimum] = {
    "llama.cpp": _LLAMA_CPP,
    "llama.cpp-cuda": _LLAMA_CPP,
    "ollama": Minimum(
        "0.33.0",
        (
            "CVE-2026-7482, /api/create and /api/push read memory of the server",
            "CVE-2026-42248 and CVE-2026-42249, its updater on Windows",
        ),
    ),
    "sglang": Minimum(
        "0.5.23",
        ("all that a release is known to close; older ones have other flags too",),
        (
            "CVE-2026-3059 and CVE-2026-3060, pickles over ZMQ (multimodal generation, encoder disaggregation)",
            "CVE-2026-3989, its replay script",
            "CVE-2026-7301, CVE-2026-7302 and CVE-2026-7304 (one needs --enable-custom-logit-processor)",
        ),
    ),
    "tensorrt-llm": Minimum("0.18.2", ("unsigned pickles between its processes (pull requests 3611 and 3635)",)),
    "tgi": Minimum("3.3.7", ("CVE-2026-0599, an image named in a prompt is fetched without a bound",)),
}


def oldest(engine: str) -> tuple[str, str] | None:
    """The oldest version that may serve, and the hole that it closes; None where there is no minimum."""
    minimum = MINIMUMS.get(engine)
    return (minimum.version, minimum.closed[-1]) if minimum else None


def wanted(engine: str, version: str) -> str | None:
    """What is wanted instead of a version that may not serve, in words; None where it may."""
    minimum = MINIMUMS.get(engine)
    if minimum is None or numbers(version) >= numbers(minimum.version):
        return None
    if not numbers(version):
        return f"a version such as {minimum.version}"
    return f"{minimum.version} or newer, which closes {minimum.closed[-1]}"


def numbers(version: str) -> tuple[int, ...]:
    """A version or a build (`b8146`) as numbers; what stands before a final release counts as older than it."""
    found = re.match(r"[bv]?(\d+(?:\.\d+)*)(?P<before>rc|a|b|\.dev|-rc)?", version)
    if not found:
        return ()
    parts = tuple(int(part) for part in found[1].split("."))
    padded = (*parts, 0, 0, 0)[: max(len(parts), 3)]
    return (*padded, -1) if found["before"] else (*padded, 0)
