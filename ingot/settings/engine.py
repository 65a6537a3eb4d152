"""Section "engine": the containers that serve."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator

from ingot.engines import LLAMA_CPP
from ingot.engines.minimums import wanted
from ingot.settings.kinds import (
    Bytes,
    Count,
    Expected,
    Limits,
    LogSize,
    Many,
    Port,
    SecondsOrNone,
    Section,
    Sha256,
    Text,
    pattern,
)
from ingot.sizing import SizingError, vllm

#: Address of the first replica within the engine's network.
FIRST_ADDRESS = 10
#: The smallest network in which a replica has an address.
LONGEST_PREFIX = 28

_NETWORK = f"an IPv4 network with room for replicas (/{LONGEST_PREFIX} or larger) such as '172.31.213.0/24'"


def _network(value: Any) -> ipaddress.IPv4Network:
    """Replicas are addressed from .10 on."""
    if not isinstance(value, str) or "/" not in value:
        raise ValueError(_NETWORK)
    try:
        network = ipaddress.IPv4Network(value)
    except ValueError as error:
        raise ValueError(f"{_NETWORK} ({error})") from None
    if network.prefixlen > LONGEST_PREFIX or network.is_loopback or network.is_multicast or network.is_unspecified:
        raise ValueError(_NETWORK)
    return network


def room(network: ipaddress.IPv4Network) -> int:
    """How many replicas have an address: from FIRST_ADDRESS on, before the network's last."""
    return network.num_addresses - 1 - FIRST_ADDRESS


def _is_sized(version: str) -> str:
    try:
        vllm(version)
    except SizingError as error:
        raise ValueError(str(error)) from None
    return version


def _is_safe(build: str) -> str:
    """Raises: ValueError for a build with a known hole."""
    if instead := wanted(LLAMA_CPP.name, build):
        raise ValueError(instead)
    return build


Variable = Annotated[str, *pattern(r"[A-Za-z_][A-Za-z0-9_]*", "the name of a variable")]
Image = Annotated[str, *pattern(r"[\w.:/@-]+", "an image by name and tag such as 'vllm/vllm-openai:v0.33.0'")]


class EngineImage(Section):
    """The image of an engine that has no values of its own: as pinned as vLLM's is."""

    image: Image
    #: The version in it; one with a known hole is refused.
    version: Annotated[
        str,
        *pattern(r"b[0-9]{4,6}|v?[0-9]+(?:\.[0-9]+){1,3}[\w.+-]*", "a version in quotes such as '0.5.23' or 'b11669'"),
    ]
    digest: Annotated[Sha256 | None, Expected("'sha256:' and 64 hexadecimal digits, or None")] = None
    archive: Annotated[Text | None, Expected("the path or the https address of a file of `docker save`, or None")] = (
        None
    )
    id: Annotated[Sha256 | None, Expected("'sha256:' and 64 hexadecimal digits, or None")] = None


def _are_safe(images: dict[str, EngineImage]) -> dict[str, EngineImage]:
    """Raises: ValueError for a version with a known hole."""
    for engine, one in images.items():
        if instead := wanted(engine, one.version):
            raise ValueError(f"a version of {engine} without a known hole: {instead}")
    return images


class Engine(Section):
    """The engine's image, its limits, and the network it is reached on."""

    engine_build: Annotated[Literal["cuda", "cpu"], Expected("'cuda' or 'cpu'")]
    engine_cpu_kv_cache_bytes: Bytes
    engine_extra_args: Annotated[Many[Text], Expected("a list of words such as ['--dtype', 'float32'], each in quotes")]
    engine_extra_env: Annotated[
        dict[Variable, Annotated[str, *pattern(r"[^\x00-\x1f\x7f]*", "a text, in quotes")]],
        Expected("texts by variable such as {'NAME': 'value'}"),
    ]
    engine_group_address: Annotated[
        Annotated[str, *pattern(r"(?:[0-9]{1,3}\.){3}[0-9]{1,3}", "")] | None,
        Expected("an IPv4 address in quotes such as '10.1.0.7', or None"),
    ]
    engine_hold_s: SecondsOrNone
    engine_cuda: Annotated[
        Annotated[str, *pattern(r"[0-9]{2}\.[0-9]{1,2}", "")] | None,
        Expected("a CUDA version in quotes such as '13.0', or None"),
    ]
    engine_image: Image
    engine_image_archive: Annotated[
        Text | None, Expected("the path or the https address of a file of `docker save`, or None")
    ]
    engine_image_digest: Annotated[Sha256 | None, Expected("'sha256:' and 64 hexadecimal digits, or None")]
    engine_image_id: Annotated[Sha256 | None, Expected("'sha256:' and 64 hexadecimal digits, or None")]
    engine_images: Annotated[
        dict[Literal["llama.cpp-cuda", "lmstudio", "ollama", "sglang", "tensorrt-llm", "tgi"], EngineImage],
        AfterValidator(_are_safe),
        Expected("images by engine such as {'sglang': {'image': …, 'version': …, 'digest': …}}"),
    ]
    engine_log_max_files: Count
    engine_log_max_size: LogSize
    engine_network: Annotated[ipaddress.IPv4Network, BeforeValidator(_network), Expected(_NETWORK)]
    engine_pids: Count
    engine_port: Port
    engine_shm_bytes: Bytes
    engine_stop_grace_s: SecondsOrNone
    engine_ulimits: Limits
    engine_version: Annotated[
        Annotated[str, *pattern(r"v?[0-9]+\.[0-9]+(?:\.[0-9]+)?[\w.+-]*", "")],
        AfterValidator(_is_sized),
        Expected("the version of the engine in quotes such as '0.33.0'"),
    ]
    llama_cpp_image: Image
    llama_cpp_image_archive: Annotated[
        Text | None, Expected("the path or the https address of a file of `docker save`, or None")
    ]
    llama_cpp_image_digest: Annotated[Sha256 | None, Expected("'sha256:' and 64 hexadecimal digits, or None")]
    llama_cpp_image_id: Annotated[Sha256 | None, Expected("'sha256:' and 64 hexadecimal digits, or None")]
    llama_cpp_version: Annotated[
        Annotated[str, *pattern(r"b[0-9]{4,6}", "")],
        AfterValidator(_is_safe),
        Expected("the build of llama.cpp in quotes such as 'b11669'"),
    ]
