"""From a host's plan and values to the services of its engine, and to the files that describe them."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pyinfra.context import host

from ingot.engines import VLLM, Replica, Service, Values
from ingot.facts.engine import PROJECT, STATE
from ingot.operations.containers.image import image_of_host
from ingot.operations.refuse import Refusal
from ingot.operations.render import template
from ingot.operations.serving import templates
from ingot.operations.serving.planning import Planned

#: Address of the first replica within the engine's network.
FIRST_ADDRESS = 10


@dataclass(frozen=True, slots=True)
class Settings:
    """The engine's values of one host."""

    values: Values
    cache_root: str
    network: ipaddress.IPv4Network
    hold_s: int
    log_max_size: str
    log_max_files: int


def settings_of_host() -> Settings:
    """The values of the host in context. Raises: Refusal."""
    data = host.data
    if data.engine_build not in VLLM.builds:
        raise Refusal(
            f"{host.name}: engine_build is {data.engine_build!r}, expected one of {', '.join(VLLM.builds)}; "
            "correct it in group_data."
        )
    return Settings(
        values=Values(
            image=image_of_host().reference,
            build=data.engine_build,
            port=data.engine_port,
            shm_bytes=data.engine_shm_bytes,
            pids=data.engine_pids,
            stop_grace_s=data.engine_stop_grace_s,
            cpu_kv_cache_bytes=data.engine_cpu_kv_cache_bytes,
            ulimits=data.engine_ulimits,
            extra_args=tuple(str(word) for word in data.engine_extra_args),
            extra_env={str(key): str(value) for key, value in data.engine_extra_env.items()},
        ),
        cache_root=data.cache_root,
        network=ipaddress.IPv4Network(data.engine_network),
        hold_s=data.engine_hold_s,
        log_max_size=data.engine_log_max_size,
        log_max_files=data.engine_log_max_files,
    )


def services(planned: Planned, settings: Settings) -> tuple[Service, ...]:
    """The plan's replicas as services, addressed in the plan's order."""
    made: list[Service] = []
    count: dict[str, int] = {}
    for index, replica in enumerate(planned.plan.replicas):
        number = count.setdefault(replica.model, 0)
        count[replica.model] += 1
        name = f"{service_name(replica.model)}-{number}"
        model = planned.models[replica.model]
        variant = next(one for one in model.variants if one.name == replica.variant)
        directory = f"{settings.cache_root}/{replica.model}/{variant.directory}"
        place = Replica(
            plan=replica,
            name=name,
            served_name=replica.model,
            address=str(settings.network[FIRST_ADDRESS + index]),
            model_directory=directory,
            cache_directory=cache_directory(name),
            weight_bytes=replica.memory.weights.bytes * len(replica.gpu_uuids),
            kind=model.kind,
            arguments=model.arguments,
            template=templates.text(model.arguments.chat_template),
            width=variant.architecture.hidden_size if model.kind == "embed" else None,
            native_context=variant.architecture.max_model_len,
            yarn=model.yarn,
        )
        made.append(VLLM.service(place, settings.values))
    return tuple(made)


def service_name(model: str) -> str:
    """A model's name as Compose takes it: `Qwen/Qwen3-8B` becomes `qwen-qwen3-8b`."""
    return re.sub(r"[^a-z0-9_-]+", "-", model.lower()).strip("-_")


def cache_directory(name: str) -> str:
    """Where a replica keeps compiled graphs and kernels. It is trusted code: of one replica, and private."""
    return f"{STATE}/engine/cache/{name}"


def compose_file(live: Iterable[Service], settings: Settings) -> str:
    """The Compose project that runs these services."""
    return template(
        "engine/compose.yaml",
        project=PROJECT,
        services=sorted(live, key=lambda service: service.address),
        subnet=str(settings.network),
        log_max_size=settings.log_max_size,
        log_max_files=settings.log_max_files,
    )


def upstreams(wanted: Iterable[Service]) -> list[dict[str, Any]]:
    """What the gateway routes to: each model with its replicas' addresses."""
    by_model: dict[str, list[str]] = {}
    for service in wanted:
        by_model.setdefault(service.model, []).append(service.endpoint)
    return [{"model": model, "replicas": replicas} for model, replicas in sorted(by_model.items())]


def container(service: str) -> str:
    """The container of a service."""
    return f"{PROJECT}-{service}"


def removal(service: str) -> str:
    """A command that removes the container of a service, and leaves one of that name which Ingot has not made."""
    name = container(service)
    project = "docker inspect --format '{{index .Config.Labels \"com.docker.compose.project\"}}'"
    return f"{{ {project} {name} | grep -qx {PROJECT} && docker rm --force {name}; }} >/dev/null 2>&1 || true"
