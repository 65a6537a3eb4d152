"""The engine of a host: its image, and its replicas brought to the plan one at a time, each proven by an answer."""

from __future__ import annotations

import ipaddress
import json
import re
import shlex
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pyinfra import logger
from pyinfra.api.command import FileUploadCommand, PyinfraCommand, StringCommand
from pyinfra.api.operation import operation
from pyinfra.context import host, state

from ingot.engines import VLLM, Replica, Running, Service, Step, Values, leftovers, observed, steps
from ingot.facts.engine import (
    PROJECT,
    STATE,
    EngineLook,
    EngineState,
    Evidence,
    Glance,
    ImageLook,
    ReplicaEvidence,
    ReplicaGlance,
    ReplicaLog,
)
from ingot.operations import planning, tree
from ingot.operations.changes import announce
from ingot.operations.planning import Planned, Refusal
from ingot.operations.refuse import refuse
from ingot.operations.render import template
from ingot.sizing import Calibration, CalibrationKey, ReplicaPlan
from ingot.sizing.calibration import dump
from ingot.sizing.calibration import load as load_calibrations

CONFIG = "/etc/ingot/engine"
COMPOSE = f"{CONFIG}/compose.yaml"
UNIT = "/etc/systemd/system/ingot-engine.service"
LAST_GOOD = "engine/last-good"
PUSHED = f"{STATE}/engine/image.tar"

#: One look at a starting replica takes at most this long, so that the person watching sees that it goes on.
SLICE_S = 10
#: Longer than any one command of a watch may take (a slice, a health probe, a completion), seconds.
COMMAND_S = 150
#: Loading or fetching an image of about 10 GB from a slow source, seconds.
IMAGE_S = 5400
#: Address of the first replica within the engine's network.
FIRST_ADDRESS = 10

Commands = Generator[PyinfraCommand, None, None]


@dataclass(frozen=True, slots=True)
class ImageSource:
    """Where the image comes from: `reference` is what Compose runs and is immutable.

    `archive` is a path on the host or, if it is not there, on the control machine; None means a registry.
    """

    reference: str
    archive: str | None


@dataclass(frozen=True, slots=True)
class Settings:
    """The engine's values of one host."""

    image: ImageSource
    values: Values
    cache_root: str
    network: ipaddress.IPv4Network
    hold_s: int
    log_max_size: str
    log_max_files: int


def settings_of_host() -> Settings:
    """The values of the host in context. Raises: Refusal."""
    data = host.data
    image = image_source(
        host.name,
        image=data.engine_image,
        digest=data.engine_image_digest,
        archive=data.engine_image_archive,
        image_id=data.engine_image_id,
    )
    if data.engine_build not in VLLM.builds:
        raise Refusal(
            f"{host.name}: engine_build is {data.engine_build!r}, expected one of {', '.join(VLLM.builds)}; "
            "correct it in group_data."
        )
    return Settings(
        image=image,
        values=Values(
            image=image.reference,
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


def image_source(
    name: str, *, image: str, digest: str | None, archive: str | None, image_id: str | None
) -> ImageSource:
    """What the values say about the image. Raises: Refusal when it is not pinned.

    A tag alone is refused: whoever pushes it again would decide what runs here next.
    """
    if archive:
        if not image_id or not re.fullmatch(r"sha256:[0-9a-f]{64}", image_id):
            raise Refusal(
                f"{name}: engine_image_archive is {archive} but engine_image_id is {image_id!r}, expected the "
                "sha256:… id that `docker image inspect` shows after `docker load`; set it in group_data."
            )
        return ImageSource(image_id, archive)
    if not digest or not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        raise Refusal(
            f"{name}: engine_image_digest is {digest!r}, expected the sha256:… digest of {image}; read it with "
            f"`docker buildx imagetools inspect {image}`, check it, and set it in group_data (or set "
            "engine_image_archive and engine_image_id for a site without a registry)."
        )
    repository, _, tag = image.rpartition(":")
    return ImageSource(f"{repository if repository and '/' not in tag else image}@{digest}", None)


@operation()
def image() -> Commands:
    """Have the engine's image on the host: loaded from an archive (by id) or pulled from a registry (by digest)."""
    try:
        wanted = settings_of_host().image
    except Refusal as refusal:
        yield refuse(str(refusal))
        return
    found = host.get_fact(ImageLook, reference=wanted.reference, archive=wanted.archive or "")
    if found.present:
        host.noop(f"image {wanted.reference} is already here")
        return
    announce([f"fetch image {wanted.reference}{f' from {wanted.archive}' if wanted.archive else ''}: takes minutes"])
    if wanted.archive is None:
        yield StringCommand(
            "n=0; until timeout 3600 docker pull --quiet", wanted.reference,
            "; do n=$((n + 1)); [ $n -lt 3 ] || exit 1; sleep $((n * 15)); done", _timeout=3 * IMAGE_S,
        )  # fmt: skip
    else:
        path = wanted.archive
        if found.archive_bytes is None:
            if not Path(path).is_file():
                yield refuse(
                    f"{host.name}: the image archive {path} is neither on the host nor on this machine, expected a "
                    "file made by `docker save`; correct engine_image_archive."
                )
                return
            yield FileUploadCommand(path, PUSHED)
            path = PUSHED
        yield StringCommand("docker load --quiet --input", shlex.quote(path), _timeout=IMAGE_S)
        if path == PUSHED:
            yield StringCommand("rm --force", PUSHED)
    after = host.get_fact(ImageLook, reference=wanted.reference, archive="")
    if not after.present:
        yield refuse(
            f"{host.name}: {wanted.archive or 'the registry'} did not bring image {wanted.reference}; compare "
            "engine_image_id (or engine_image_digest) with what `docker image ls --no-trunc` shows on the host."
        )


def entries() -> list[tree.Entry]:
    """The engine's directories and its boot unit: the same on every host."""
    return [
        tree.Dir(CONFIG, mode="0750"),
        tree.Dir(STATE),
        tree.Dir(f"{STATE}/engine", mode="0755"),
        tree.Dir(f"{STATE}/{LAST_GOOD}", mode="0750"),
        tree.Dir(f"{STATE}/engine/cache", mode="0711"),
        tree.File(UNIT, template("engine/ingot-engine.service", compose=COMPOSE)),
    ]


def services(planned: Planned, settings: Settings) -> tuple[Service, ...]:
    """The plan's replicas as services, addressed in the plan's order."""
    made: list[Service] = []
    count: dict[str, int] = {}
    for index, replica in enumerate(planned.plan.replicas):
        number = count.setdefault(replica.model, 0)
        count[replica.model] += 1
        name = f"{service_name(replica.model)}-{number}"
        variants = {one.name: one for one in planned.models[replica.model].variants}
        directory = f"{settings.cache_root}/{replica.model}/{variants[replica.variant].directory}"
        place = Replica(
            plan=replica,
            name=name,
            served_name=replica.model,
            address=str(settings.network[FIRST_ADDRESS + index]),
            model_directory=directory,
            cache_directory=cache_directory(name),
            weight_bytes=replica.memory.weights.bytes * len(replica.gpu_uuids),
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


def running(found: EngineState) -> dict[str, Running]:
    """What the look found, in the rollout's terms."""
    return {
        one.service: Running(one.service, one.digest, one.status, one.healthy, one.age_s, one.address, one.devices)
        for one in found.containers
    }


@operation()
def replicas() -> Commands:
    """Measure, plan, and bring every replica to the plan, one at a time; the old one returns when the new one fails."""
    found: EngineState = host.get_fact(EngineLook)
    try:
        settings = settings_of_host()
        planned = planning.host_plan(found)
    except Refusal as refusal:
        yield refuse(str(refusal))
        return
    if not found.docker:
        yield refuse(
            f"{host.name}: Docker does not answer, expected it to list the engine's containers; read "
            "`systemctl status docker` on the host."
        )
        return
    wanted = services(planned, settings)
    rollout = Rollout(settings, planned, wanted, found)
    todo, surplus = steps(wanted, running(found)), leftovers(wanted, running(found))
    if not todo and not surplus and rollout.agrees():
        host.noop(f"{len(wanted)} replicas serve as planned")
        return
    announce(_sentences(todo, surplus))
    for step in todo:
        failed = yield from rollout.take(step)
        if failed:
            yield refuse(failed)
            return
    for name in surplus:
        yield StringCommand(f"docker rm --force {container(name)} >/dev/null 2>&1 || true")
    yield from tree.tree._inner(entries=rollout.final())


def container(service: str) -> str:
    """The container of a service."""
    return f"{PROJECT}-{service}"


def _sentences(todo: Sequence[Step], surplus: Sequence[str]) -> list[str]:
    said = [
        f"{'start' if step.action == 'replace' else 'wait for'} {step.service.name}: {step.reason}" for step in todo
    ]
    return said + [f"remove {name}: it is no longer planned" for name in surplus]


@dataclass
class Rollout:
    """One host's way from what runs to what is wanted, remembering what it may have to go back to."""

    settings: Settings
    planned: Planned
    wanted: tuple[Service, ...]
    found: EngineState
    measured: list[Calibration] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.last_good = _stored_services(self.found.files)
        by_name = {service.name: service for service in self.wanted}
        #: What the Compose file holds now: services that run as wanted, and old ones until their turn comes.
        self.live: dict[str, Service] = {}
        for one in self.found.containers:
            new, old = by_name.get(one.service), self.last_good.get(one.service)
            if new and new.digest == one.digest:
                self.live[one.service] = new
            elif old and old.digest == one.digest:
                self.live[one.service] = old

    def agrees(self) -> bool:
        """Whether the files on the host already say what the plan says."""
        files = self.found.files
        return (
            self.found.compose.strip() == compose_file(self.wanted, self.settings).strip()
            and files.get("plan.json") == json.loads(_json(self.planned.to_dict()))
            and files.get("upstreams.json") == upstreams(self.wanted)
            and all(self.last_good.get(one.name) == one for one in self.wanted)
        )

    def final(self) -> list[tree.Entry]:
        """The files of a host that serves its plan."""
        kept = {f"{LAST_GOOD}/{one.name}.json" for one in self.wanted}
        return [
            tree.File(COMPOSE, compose_file(self.wanted, self.settings), mode="0640"),
            tree.File(f"{STATE}/plan.json", _json(self.planned.to_dict())),
            tree.File(f"{STATE}/upstreams.json", _json(upstreams(self.wanted))),
            *(self._good(one) for one in self.wanted),
            *(
                tree.Absent(f"{STATE}/{path}")
                for path in self.found.files
                if path.startswith(LAST_GOOD) and path not in kept
            ),
        ]

    def take(self, step: Step) -> Generator[PyinfraCommand, None, str | None]:
        """One replica up and proven. Returns: None, or the sentence that refuses."""
        service = step.service
        if step.action == "replace":
            displaced = [self.live.pop(name) for name in step.displaces if name in self.live]
            self.live[service.name] = service
            yield from self._start(service, step.displaces)
            before = 0
        else:
            displaced = []
            before = next(one.restarts for one in self.found.containers if one.service == service.name)
        if not state.is_executing:
            return None
        began = time.monotonic()
        trouble = watch(service, before) or self._hold(service, before)
        if trouble is None:
            logger.info(f"{host.print_prefix}{service.name} answers after {time.monotonic() - began:.0f} s")
            yield from tree.tree._inner(entries=[self._good(service), self._measurements()])
            return None
        return (yield from self._give_up(service, trouble, displaced))

    def _start(self, service: Service, displaces: Sequence[str]) -> Commands:
        yield from tree.tree._inner(
            entries=[
                tree.Dir(cache_directory(service.name), user=service.user.partition(":")[0], mode="0700"),
                tree.File(COMPOSE, compose_file(self.live.values(), self.settings), mode="0640"),
            ]
        )
        grace = service.stop_grace_s
        stops = "".join(
            f"docker stop --time {grace} {container(name)}; docker rm --force {container(name)}; " for name in displaces
        )
        # Whatever goes wrong is seen by the watch that follows, which can still bring the old one back.
        yield StringCommand(
            f"{{ {stops}docker compose --file {COMPOSE} up --detach --no-build --pull never --no-deps "
            f"--force-recreate {service.name}; }} >{STATE}/engine/up.log 2>&1 || true",
            _timeout=(grace + 60) * max(len(displaces), 1) + COMMAND_S,
        )

    def _hold(self, service: Service, before: int) -> str | None:
        """See that it goes on serving, and read what it says about its memory."""
        evidence: Evidence = host.get_fact(
            ReplicaEvidence,
            container=container(service.name),
            endpoint=service.endpoint,
            health=service.health_path,
            hold=self.settings.hold_s,
            lines=observed.LOG_LINES,
            _timeout=self.settings.hold_s + COMMAND_S,
        )
        if evidence.status != "running" or evidence.restarts != before or evidence.health != "200":
            return f"answered once and then stopped within {self.settings.hold_s} s"
        numbers = observed.parse(evidence.log, evidence.metrics)
        replica = self.planned.plan.replicas[self.wanted.index(service)]
        self.measured.append(calibration(replica, numbers, self.settings, self.planned))
        return None

    def _good(self, service: Service) -> tree.File:
        return tree.File(f"{STATE}/{LAST_GOOD}/{service.name}.json", _json(service.to_dict()), mode="0640")

    def _measurements(self) -> tree.File:
        """Every measurement this host knows, one per key: replicas of one shape measure the same."""
        stored = self.found.files.get("measured.json")
        known = load_calibrations(stored) if isinstance(stored, Mapping) else ()
        newest = {one.key: one for one in [*known, *self.measured]}
        return tree.File(f"{STATE}/measured.json", _json(dump(newest.values())))

    def _give_up(
        self, service: Service, trouble: str, displaced: Sequence[Service]
    ) -> Generator[PyinfraCommand, None, str]:
        """Show and keep the log, take the failed one away, bring back what it displaced."""
        name = container(service.name)
        for line in host.get_fact(ReplicaLog, container=name, _timeout=COMMAND_S)[-50:]:
            logger.error(f"{host.print_prefix}  {service.name} | {line}")
        kept = f"{STATE}/engine/failed/{service.name}"
        yield StringCommand(
            f"mkdir -p -m 0750 {kept}; cp {COMPOSE} {STATE}/engine/up.log {kept}/; "
            f"docker logs {name} >{kept}/log 2>&1; docker inspect {name} >{kept}/inspect.json 2>&1; "
            f"docker rm --force {name} >/dev/null 2>&1 || true",
            _timeout=COMMAND_S,
        )
        del self.live[service.name]
        sentence = (
            f"{host.name}: {service.name} {trouble}, expected it to serve; read its log above (kept in {kept} on "
            "the host)"
        )
        back = [self.last_good[one.name] for one in displaced if one.name in self.last_good]
        if not back:
            yield from self._settle()
            return f"{sentence}, correct its settings and deploy again; there was nothing to go back to."
        for old in back:
            self.live[old.name] = old
            yield from self._start(old, ())
            if watch(old, 0):
                return f"{sentence}; the last good {old.name} did not start again either, so it is down."
        names = ", ".join(old.name for old in back)
        return f"{sentence}, correct its settings and deploy again; the last good {names} serves again."

    def _settle(self) -> Commands:
        """The Compose file without what failed, so that a boot does not start it."""
        left = compose_file(self.live.values(), self.settings) if self.live else None
        yield from tree.tree._inner(entries=[tree.File(COMPOSE, left, mode="0640") if left else tree.Absent(COMPOSE)])


def watch(service: Service, restarts: int) -> str | None:
    """Wait until a starting replica has produced a token. Returns: None, or what is wrong with it.

    `restarts` is how often Docker had restarted it before; one more is a crash, and a crash at start is final.
    """
    began, silent = time.monotonic(), 0
    while True:
        glance: Glance = host.get_fact(
            ReplicaGlance,
            container=container(service.name),
            endpoint=service.endpoint,
            model=service.model,
            health=service.health_path,
            seconds=SLICE_S,
            restarts=restarts,
            _timeout=COMMAND_S,
        )
        spent = time.monotonic() - began
        if glance.ready:
            return None
        if glance.status == "unknown":
            return "could not be watched (the connection was lost)"
        if glance.status == "missing":
            return "has no container (Docker refused to make or start it)"
        if glance.status != "running" or glance.restarts > restarts:
            return f"crashed {spent:.0f} s after its start (exit code {glance.exit_code})"
        silent += glance.health == "200"
        if silent >= 3:
            return f"says it is healthy but gave no completion in {silent} attempts (last answer {glance.completion})"
        if spent > service.start_deadline_s:
            return f"was not ready after {spent:.0f} s (its model was given {service.start_deadline_s} s)"
        logger.info(
            f"{host.print_prefix}{service.name} starts: {spent:.0f} s of at most {service.start_deadline_s} s; "
            f"{glance.last_line[:100]}"
        )


def calibration(replica: ReplicaPlan, numbers: observed.Observed, settings: Settings, planned: Planned) -> Calibration:
    """What one start measured, under the key by which the next plan finds it."""
    non_torch = None
    if numbers.consumed_bytes is not None and numbers.weights_bytes is not None:
        non_torch = max(numbers.consumed_bytes - numbers.weights_bytes, 0)
    return Calibration(
        key=CalibrationKey(
            repository=replica.repository,
            quantization=replica.quantization,
            engine=planned.plan.engine,
            build=settings.values.build,
            gpu=replica.gpu_name,
            tensor_parallel_size=replica.tensor_parallel_size,
            pipeline_parallel_size=replica.pipeline_parallel_size,
            max_num_seqs=replica.max_num_seqs,
            max_num_batched_tokens=replica.max_num_batched_tokens,
            enforce_eager=settings.values.build == "cpu",
        ),
        weights_bytes=numbers.weights_bytes,
        available_kv_bytes=numbers.available_kv_bytes,
        kv_cache_tokens=numbers.kv_cache_tokens,
        num_gpu_blocks=numbers.num_blocks,
        activation_bytes=numbers.activation_bytes,
        non_torch_bytes=non_torch,
        graphs_bytes=numbers.graphs_bytes,
        gpu_total_bytes=numbers.total_bytes,
        gpu_memory_utilization=replica.gpu_memory_utilization,
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _stored_services(files: Mapping[str, Any]) -> dict[str, Service]:
    """The services last proven good; one that another version of Ingot wrote cannot be gone back to."""
    found: dict[str, Service] = {}
    for path, stored in files.items():
        if path.startswith(f"{LAST_GOOD}/"):
            try:
                service = Service.from_dict(stored)
            except (KeyError, TypeError, ValueError):
                continue
            found[service.name] = service
    return found


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, sort_keys=True) + "\n"
