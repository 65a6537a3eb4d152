"""From a host's plan and values to the services of its engine, and to the files that describe them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ingot.engines import ENGINES, VLLM, Replica, Service, Values
from ingot.errors import IngotError
from ingot.facts.engine import PROJECT, STATE
from ingot.gateway.shares import divided
from ingot.operations.containers.image import image_source
from ingot.operations.render import template
from ingot.operations.serving import beside, templates
from ingot.operations.serving.planning import Planned
from ingot.settings import Settings
from ingot.settings.engine import FIRST_ADDRESS, Engine, room
from ingot.settings.serving import service_name
from ingot.sizing import HostPlan

#: Where engines that find a model by a store of their own have it, each service's in a directory of its own.
STORES = f"{STATE}/engine/store"


def engine_values(values: Engine, disk_bytes_per_s: int | None = None, engine: str = VLLM.name) -> Values:
    """A host's values as an engine takes them. Raises: IngotError where the image is not pinned."""
    own = engine == VLLM.name
    return Values(
        image=image_source(values, engine).reference,
        build=values.engine_build,
        port=values.engine_port,
        shm_bytes=values.engine_shm_bytes,
        pids=values.engine_pids,
        stop_grace_s=values.engine_stop_grace_s,
        cpu_kv_cache_bytes=values.engine_cpu_kv_cache_bytes,
        ulimits=values.engine_ulimits,
        # They are words of vLLM's.
        extra_args=values.engine_extra_args if own else (),
        extra_env=values.engine_extra_env if own else {},
        disk_bytes_per_s=disk_bytes_per_s,
    )


def services(planned: Planned, values: Settings, disk_bytes_per_s: int | None = None) -> tuple[Service, ...]:
    """The plan's replicas as services, addressed in the plan's order; their deadlines follow the disk's rate.

    Raises: IngotError where the image is not pinned, or the engine's network has no address for a replica.
    """
    missing = no_address(planned.plan, values)
    if missing:
        raise IngotError(missing)
    of_engine = {
        name: engine_values(values, disk_bytes_per_s, name)
        for name in dict.fromkeys(one.engine for one in planned.plan.replicas)
    }
    made: list[Service] = []
    count: dict[str, int] = {}
    for index, replica in enumerate(planned.plan.replicas):
        number = count.setdefault(replica.model, 0)
        count[replica.model] += 1
        name = f"{service_name(replica.model)}-{number}"
        request = planned.request_of(replica.model)
        model, draft = request.model, beside.of_draft(request.speculation)
        variant = next(one for one in model.variants if one.name == replica.variant)
        directory = f"{values.cache_root}/{replica.model}/{variant.directory}"
        place = Replica(
            plan=replica,
            name=name,
            served_name=replica.model,
            address=str(values.engine_network[FIRST_ADDRESS + index]),
            model_directory=directory,
            cache_directory=cache_directory(name),
            weight_bytes=replica.memory.weights.bytes * max(len(replica.gpu_uuids), 1),
            kind=model.kind,
            arguments=request.arguments,
            template=templates.text(request.arguments.chat_template),
            width=variant.architecture.hidden_size if model.kind == "embed" else None,
            native_context=variant.architecture.max_model_len,
            yarn=model.yarn,
            speculation=request.speculation,
            draft_directory=f"{values.cache_root}/{model.name}/{draft.directory}" if draft else None,
            adapters=tuple(
                (one, f"{values.cache_root}/{one.name}/{beside.of_adapter(one).directory}") for one in request.adapters
            ),
            file=variant.file,
            aliases=(*values.aliases_of(replica.model), *values.fallbacks_of(replica.model)),
            store_directory=STORES,
        )
        made.append(ENGINES[replica.engine].service(place, of_engine[replica.engine]))
    return tuple(made)


def no_address(plan: HostPlan, values: Engine) -> str | None:
    """The sentence, without the host's name, that says that replicas of a plan would have no address."""
    count, addresses = len(plan.replicas), room(values.engine_network)
    if count <= addresses:
        return None
    return (
        f"engine_network is {values.engine_network}, which has addresses for {addresses} replicas of the {count} that "
        "are planned (the first is .10); give it a larger network."
    )


def cache_directory(name: str) -> str:
    """Where a replica keeps compiled graphs and kernels. It is trusted code: of one replica, and private."""
    return f"{STATE}/engine/cache/{name}"


def compose_file(live: Iterable[Service], values: Engine) -> str:
    """The Compose project that runs these services."""
    return template(
        "engine/compose.yaml",
        project=PROJECT,
        services=sorted(live, key=lambda service: service.address),
        subnet=str(values.engine_network),
        log_max_size=values.engine_log_max_size,
        log_max_files=values.engine_log_max_files,
    )


def upstreams(wanted: Iterable[Service], parts: Mapping[str, Mapping[str, int]]) -> list[dict[str, Any]]:
    """What the gateway routes to: each model, its aliases, and each adapter by its own name, with their addresses.

    `parts` are the shares of models by the names that several of them have.
    """
    by_model: dict[str, list[Service]] = {}
    for service in wanted:
        for name in (service.model, *service.aliases, *service.adapters):
            by_model.setdefault(name, []).append(service)
    return [
        {
            "model": name,
            "replicas": [one.endpoint for one in served],
            **_way(served[0]),
            **_weights(served, parts.get(name, {})),
        }
        for name, served in sorted(by_model.items())
    ]


def _weights(served: Sequence[Service], shares: Mapping[str, int]) -> dict[str, Any]:
    """The weight of each replica of models that share a name, so that a model's replicas have its share together."""
    if len({one.model for one in served}) < 2:
        return {}
    return {"weights": dict(divided({one.endpoint: (1, {one.model: shares[one.model]}) for one in served}))}


def _way(service: Service) -> dict[str, Any]:
    """What the gateway must know of an engine that does not do everything itself; nothing of one that does."""
    engine = ENGINES[service.engine]
    known: dict[str, Any] = {"engine": engine.name} if not (engine.accounts and engine.checks_names) else {}
    known |= {"most": service.most} if service.most is not None else {}
    return {**known, **({"gathered": True} if engine.gathered else {})}


def container(service: str) -> str:
    """The container of a service."""
    return f"{PROJECT}-{service}"


def removal(service: str) -> str:
    """A command that removes the container of a service, and leaves one of that name which Ingot has not made."""
    name = container(service)
    project = "docker inspect --format '{{index .Config.Labels \"com.docker.compose.project\"}}'"
    return f"{{ {project} {name} | grep -qx {PROJECT} && docker rm --force {name}; }} >/dev/null 2>&1 || true"
