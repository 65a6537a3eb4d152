"""Replicas replaced one at a time: each proven by what it is for, and undone when it does not give one."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from pyinfra import logger
from pyinfra.api.command import PyinfraCommand, StringCommand
from pyinfra.api.facts import FactBase
from pyinfra.context import host, state

from ingot.engines import ENGINES, VLLM, Service, Step, Weights, observed, proof, rates
from ingot.engines.capacity import beyond, off_gpus, shortfall
from ingot.engines.rates import Rates
from ingot.engines.vllm import CACHE, HOST_ACCOUNTS
from ingot.errors import IngotError
from ingot.facts.asking import Answer, Asked
from ingot.facts.crash import ReplicaCrash
from ingot.facts.engine import STARTS, STATE, EngineState
from ingot.facts.models import Models, ModelsState
from ingot.facts.probe import path_of
from ingot.facts.replica import Evidence, Glance, ReplicaEvidence, ReplicaGlance, ReplicaLog
from ingot.facts.warm_up import Warmed, WarmUp
from ingot.operations import tree
from ingot.operations.connection import reconnect
from ingot.operations.gateway import drain
from ingot.operations.serving import replica_watch
from ingot.operations.serving.crash import explain
from ingot.operations.serving.planning import Planned, calibrations
from ingot.operations.serving.services import STORES, cache_directory, compose_file, container, removal, upstreams
from ingot.operations.serving.starts import Starts
from ingot.operations.serving.stored import LAST_GOOD, LastGood, stored_services
from ingot.settings import Settings
from ingot.sizing import Calibration, CalibrationKey, ReplicaPlan
from ingot.sizing.calibration import dump

COMPOSE = "/etc/ingot/engine/compose.yaml"
#: Docker's word on the staged project before it lies where a boot would start it.
VALIDATE = f"[ ! -e {{stage}}{COMPOSE} ] || docker compose --file {{stage}}{COMPOSE} config --quiet"

#: One look at a starting replica takes at most this long, so that the person watching sees that it goes on.
SLICE_S = 10
#: Longer than any one command of a watch may take (a slice, a health probe, a completion), seconds.
COMMAND_S = 150
#: How long one request of a proof may take: thoughts of several thousand tokens come before a forced call.
PROOF_S = 180
#: How long a lost connection is tried again, seconds.
RECONNECT_S = 180

Commands = Generator[PyinfraCommand, None, None]
Found = TypeVar("Found")


@dataclass
class Rollout:
    """One host's way from what runs to what is wanted, remembering what it may have to go back to."""

    settings: Settings
    planned: Planned
    wanted: tuple[Service, ...]
    found: EngineState
    starts: Starts = field(default_factory=Starts)
    measured: list[Calibration] = field(default_factory=list)

    def __post_init__(self) -> None:
        #: What a start lacks that serves all the same.
        self.short: str | None = None
        #: Services that could not be brought back.
        self.down: set[str] = set()
        self.last_good = stored_services(self.found.files)
        by_name = {service.name: service for service in self.wanted}
        #: What the Compose file holds now: services that run as wanted, and old ones until their turn comes.
        self.live: dict[str, Service] = {}
        for one in self.found.containers:
            new, old = by_name.get(one.service), self.last_good.get(one.service)
            if new and new.digest == one.digest:
                self.live[one.service] = new
            elif old and old.runs_as(one.digest):
                self.live[one.service] = old.service

    def agrees(self) -> bool:
        """Whether the files on the host already say what the plan says."""
        files = self.found.files
        return (
            self.found.compose.strip() == compose_file(self.wanted, self.settings).strip()
            and files.get("plan.json") == json.loads(_json(self.planned.to_dict()))
            and files.get("upstreams.json") == upstreams(self.wanted, self.settings.parts)
            and all(files.get(f"{LAST_GOOD}/{one.name}.json") == json.loads(_good(one)) for one in self.wanted)
        )

    def serves(self, name: str) -> bool:
        """Whether a service of this name is there, as wanted or as before."""
        return name in self.live and name not in self.down

    def final(self) -> list[tree.Entry]:
        """The files of a host that serves its plan."""
        kept = {f"{LAST_GOOD}/{one.name}.json" for one in self.wanted}
        return [
            tree.File(COMPOSE, compose_file(self.wanted, self.settings), mode="0640"),
            tree.File(f"{STATE}/plan.json", _json(self.planned.to_dict())),
            tree.File(f"{STATE}/upstreams.json", _json(upstreams(self.wanted, self.settings.parts))),
            tree.File(f"{STATE}/{STARTS}", _json(self.starts.of(one.name for one in self.wanted).to_dict())),
            *(self._good(one) for one in self.wanted),
            *(
                tree.Absent(f"{STATE}/{path}")
                for path in self.found.files
                if path.startswith(LAST_GOOD) and path not in kept
            ),
        ]

    def take(self, step: Step) -> Generator[PyinfraCommand, None, str | None]:
        """One replica up and proven. Returns: None, or the sentence that refuses."""
        service, self.short = step.service, None
        if step.action == "replace":
            yield from drain.drain(self._addresses(step), service.stop_grace_s, self.starts.expected_s(service.name))
            began = time.monotonic()
            displaced = [self.live.pop(name) for name in step.displaces if name in self.live]
            self.live[service.name] = service
            yield from self._start(service, step.displaces)
            before = 0
        else:
            displaced, began = [service], time.monotonic()
            before = next(one.restarts for one in self.found.containers if one.service == service.name)
        if not state.is_executing:
            return None
        try:
            trouble = watch(service, before) or prove(service) or self._warm_up(service) or self._hold(service, before)
            before_it = [self.last_good[one.name] for one in displaced if one.name in self.last_good]
            if self.short and not all(one.runs_as(service.digest) for one in before_it):
                # What was measured is what the next plan expects.
                yield from tree.tree._inner(entries=[self._measurements()])
                trouble = trouble or self.short
            if trouble:
                return (yield from self._give_up(service, trouble, displaced))
        except Lost:
            return (
                f"{host.name}: the connection was lost while {service.name} starts, and not found again within "
                f"{RECONNECT_S} s; it goes on there, run again to wait for it."
            )
        spent = time.monotonic() - began
        logger.info(f"{host.print_prefix}{service.name} answers after {spent:.0f} s")
        if self.short:
            logger.warning(f"{host.print_prefix}{host.name}: {service.name} {self.short}; there is none to go back to.")
        if step.action == "replace":
            self.starts = self.starts.took(service.name, math.ceil(spent))
        yield from tree.tree._inner(entries=[self._good(service), self._measurements()])
        yield from drain.restore(service.model, service.endpoint)
        yield StringCommand(replica_watch.LOOK, _timeout=COMMAND_S)
        return None

    def bridge(self, step: Step, place: Bridge) -> Generator[PyinfraCommand, None, str | None]:
        """Have the new replica serve on spare GPUs while its own are still taken. Returns: None, or the refusal."""
        service = bridged(step.service, place)
        self.live[service.name] = service
        yield from self._start(service, ())
        if not state.is_executing:
            return None
        try:
            trouble = watch(service, 0) or prove(service)
        except Lost:
            trouble = "was lost with the connection"
        if trouble:
            yield from self._remove(service)
            return (
                f"{host.name}: {service.name}, which was to serve on spare GPUs meanwhile, {trouble}; nothing was "
                "replaced, correct its settings and deploy again."
            )
        yield from drain.join(step.service.endpoint, service.model, service.endpoint)
        logger.info(f"{host.print_prefix}{service.name} serves on spare GPUs while {step.service.name} is replaced")
        return None

    def leave_bridge(self, step: Step, place: Bridge) -> Commands:
        """Take away what served meanwhile, after its running requests."""
        service = bridged(step.service, place)
        yield from drain.drain({service.endpoint}, service.stop_grace_s)
        yield from drain.leave(service.endpoint)
        yield from self._remove(service)

    def _remove(self, service: Service) -> Commands:
        yield StringCommand(removal(service.name), _timeout=COMMAND_S)
        del self.live[service.name]
        yield from self._settle()

    def back(self, taken: Sequence[Step]) -> Commands:
        """Bring back, last first, what proven steps displaced: the services that were good before them."""
        for step in reversed(taken):
            for name in step.displaces:
                if name in self.last_good:
                    failed = yield from self.take(
                        Step(self.last_good[name].service, "replace", (step.service.name,), "back")
                    )
                    if failed:
                        logger.error(f"{host.print_prefix}{failed}")

    def _addresses(self, step: Step) -> set[str]:
        """Where callers would miss what this step stops."""
        stopped = {one.address for one in self.found.containers if one.service in step.displaces}
        return {step.service.endpoint, *(f"{address}:{step.service.port}" for address in stopped)}

    def _start(self, service: Service, displaces: Sequence[str]) -> Commands:
        yield from tree.tree._inner(
            entries=[
                tree.Dir(cache_directory(service.name), user=service.user.partition(":")[0], mode="0700"),
                *self._store(service),
                tree.File(COMPOSE, compose_file(self.live.values(), self.settings), mode="0640"),
            ],
            validate=VALIDATE,
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

    def _store(self, service: Service) -> list[tree.Entry]:
        """What an engine with a store of its own finds its model by: the file that was verified, by its digest."""
        lay_out = ENGINES[service.engine].store
        if lay_out is None:
            return []
        directory = next(mount.source for mount in service.mounts if mount.is_model)
        found: ModelsState = host.get_fact(Models, root=self.settings.cache_root, targets=[directory])
        verified = [one for one in found.directories[directory].verified or () if one.path.endswith(".gguf")]
        if len(verified) != 1:
            if state.is_executing:
                logger.error(f"{host.print_prefix}{host.name}: {directory} holds no verified GGUF file to serve.")
            return []
        made = lay_out(service, Weights(verified[0].path, verified[0].bytes, verified[0].sha256))
        return [
            tree.Dir(STORES),
            *(tree.Dir(path) for path in made.directories),
            *(tree.File(path, text) for path, text in made.files.items()),
            *(tree.Link(path, target) for path, target in made.links.items()),
        ]

    def _warm_up(self, service: Service) -> str | None:
        """Have it answer one prompt as long as its callers' longest, where the values ask for that. Raises: Lost."""
        engine = ENGINES[service.engine]
        if not (self.settings.rollout_warm_up and engine.warm_up) or service.kind != "generate":
            return None
        most = int(service.argv[service.argv.index("--max-model-len") + 1]) - 1
        warmed: Warmed | None = ask(
            WarmUp,
            endpoint=service.endpoint,
            model=service.model,
            accounts=HOST_ACCOUNTS,
            most=most,
            seconds=PROOF_S,
            _timeout=PROOF_S + COMMAND_S,
        )
        if warmed and warmed.tokens and warmed.status != "200":
            return f"answered a prompt of {warmed.tokens} tokens, as long as its callers' longest, with {warmed.status}"
        if warmed and warmed.tokens:
            logger.info(f"{host.print_prefix}{service.name} answered a prompt of {warmed.tokens} tokens")
        return None

    def _hold(self, service: Service, before: int) -> str | None:
        """See that it goes on serving, and read what it says about its memory."""
        evidence: Evidence = ask(
            ReplicaEvidence,
            container=container(service.name),
            endpoint=service.endpoint,
            health=service.health_path,
            hold=self.settings.engine_hold_s,
            lines=ENGINES[service.engine].log_lines,
            _timeout=self.settings.engine_hold_s + COMMAND_S,
        )
        if evidence.status != "running" or evidence.restarts != before or evidence.health != "200":
            why = _why(service, proof.questions(service)[-1].path)
            return f"answered once and then stopped within {self.settings.engine_hold_s} s ({why})"
        numbers = ENGINES[service.engine].observe(evidence.log, evidence.metrics)
        self.short = None
        # One that is brought back may not be of this plan.
        if service in self.wanted:
            replica = self.planned.plan.replicas[self.wanted.index(service)]
            if left := off_gpus(replica, numbers):
                return left
            # Of vLLM alone the arithmetic learns from starts; of others a plan shows how fast they were.
            if service.engine == VLLM.name:
                self.measured.append(calibration(replica, numbers, self.settings, self.planned))
            elif found := rates_of(service, replica):
                self.measured.append(paced(calibration(replica, numbers, self.settings, self.planned), found))
            # Without a GPU vLLM's cache is as large as the values say, whatever the plan counted.
            simulated = ENGINES[service.engine].needs_gpu and self.settings.engine_build == "cpu"
            self.short = None if simulated else shortfall(replica, numbers)
            if more := beyond(replica, numbers):
                logger.warning(f"{host.print_prefix}{host.name}: {service.name} {more}; leave more of it free.")
        return None

    def _good(self, service: Service) -> tree.File:
        return tree.File(f"{STATE}/{LAST_GOOD}/{service.name}.json", _good(service), mode="0640")

    def _measurements(self) -> tree.File:
        """Every measurement this host knows, one per key: replicas of one shape measure the same."""
        newest = {one.key: one for one in [*calibrations(self.found.files), *self.measured]}
        return tree.File(f"{STATE}/measured.json", _json(dump(newest.values())))

    def _give_up(
        self, service: Service, trouble: str, displaced: Sequence[Service]
    ) -> Generator[PyinfraCommand, None, str]:
        """Show and keep the log, take the failed one away, bring back what it displaced."""
        name = container(service.name)
        for line in host.get_fact(ReplicaLog, container=name, _timeout=COMMAND_S):
            logger.error(f"{host.print_prefix}  {service.name} | {line}")
        kept = f"{STATE}/engine/failed/{service.name}"
        yield StringCommand(
            f"mkdir -p -m 0750 {kept}; cp {COMPOSE} {STATE}/engine/up.log {kept}/; "
            f"docker logs {name} >{kept}/log 2>&1; docker inspect {name} >{kept}/inspect.json 2>&1 || true",
            _timeout=COMMAND_S,
        )
        sentence = (
            f"{host.name}: {service.name} {trouble}, expected it to serve; read its log above (kept in {kept} on "
            "the host)"
        )
        if service.name in self.last_good and self.last_good[service.name].runs_as(service.digest):
            # Docker may yet bring it up; nginx sees for itself whether it answers.
            yield from drain.restore(service.model, service.endpoint)
            return f"{sentence}; it served with these settings before, so look for what changed on the host."
        yield StringCommand(removal(service.name), _timeout=COMMAND_S)
        del self.live[service.name]
        back = [self.last_good[one.name].service for one in displaced if one.name in self.last_good]
        if not back:
            yield from self._settle()
            return f"{sentence}, correct its settings and deploy again; there was nothing to go back to."
        for old in back:
            self.live[old.name] = old
            yield from self._start(old, ())
            if watch(old, 0):
                self.down.add(old.name)
                return f"{sentence}; the last good {old.name} did not start again either, so it is down."
            yield from drain.restore(old.model, old.endpoint)
        names = ", ".join(old.name for old in back)
        return f"{sentence}, correct its settings and deploy again; the last good {names} serves again."

    def _settle(self) -> Commands:
        """The Compose file without what failed, so that a boot does not start it."""
        left = compose_file(self.live.values(), self.settings) if self.live else None
        entry = tree.File(COMPOSE, left, mode="0640") if left else tree.Absent(COMPOSE)
        yield from tree.tree._inner(entries=[entry], validate=VALIDATE)


@dataclass(frozen=True, slots=True)
class Bridge:
    """Spare GPUs (CDI names) and an address at which a replica serves while its own place is taken."""

    devices: tuple[str, ...]
    address: str


def bridged(service: Service, place: Bridge) -> Service:
    """A service on spare GPUs: by another name, at another address, with a cache and accounts of its own."""
    name = f"{service.name}-bridge"
    mounts = tuple(
        replace(mount, source=cache_directory(name)) if mount.target == CACHE else mount for mount in service.mounts
    )
    env = tuple(
        (key, value.replace(f"/{service.name}.jsonl", f"/{name}.jsonl") if key == "INGOT_ACCOUNT" else value)
        for key, value in service.env
    )
    return replace(service, name=name, mounts=mounts, env=env, devices=place.devices, address=place.address)


class Lost(IngotError):
    """The connection to the host was lost and not found again in time; what was under way goes on there."""

    def __init__(self) -> None:
        super().__init__(
            f"{host.name}: the connection was lost and not found again within {RECONNECT_S} s, expected the host "
            "to come back; what starts there goes on, see that the host is up and run again to wait for it."
        )


def ask(fact: type[FactBase[Found]], **arguments: Any) -> Found:
    """A fact's answer, across lost connections. Raises: Lost."""
    began, connected = time.monotonic(), True
    while True:
        if connected and (answer := host.get_fact(fact, **arguments, _ignore_errors=True)) != fact.default():
            return answer
        if time.monotonic() - began > RECONNECT_S:
            raise Lost
        connected = reconnect(host)


def watch(service: Service, restarts: int) -> str | None:
    """Wait until a starting replica has answered once. Returns: None, or what is wrong with it.

    `restarts` is how often Docker had restarted it before; one more is a crash, and a crash at start is final.
    Raises: Lost.
    """
    began, silent = time.monotonic(), 0
    while True:
        glance: Glance = ask(
            ReplicaGlance,
            container=container(service.name),
            endpoint=service.endpoint,
            model=service.model,
            health=service.health_path,
            seconds=SLICE_S,
            restarts=restarts,
            kind=service.kind,
            _timeout=COMMAND_S,
        )
        spent = time.monotonic() - began
        if glance.ready:
            return None
        if glance.status == "missing":
            return "has no container (Docker refused to make or start it)"
        if glance.status != "running" or glance.restarts > restarts:
            return f"crashed {spent:.0f} s after its start ({_why(service, path_of(service.kind) if silent else None)})"
        # One whose health says only that it lives may be loading.
        silent += glance.health == "200" and not service.ready_by_answer
        if silent >= 3:
            return f"says it is healthy but gave no answer in {silent} attempts (last status {glance.answered})"
        if spent > service.start_deadline_s:
            return f"was not ready after {spent:.0f} s (its model was given {service.start_deadline_s} s)"
        logger.info(
            f"{host.print_prefix}{service.name} starts: {spent:.0f} s of at most {service.start_deadline_s} s; "
            f"{glance.last_line[:100]}"
        )


def prove(service: Service) -> str | None:
    """Have a replica do what it is for. Returns: None, or what it did instead. Raises: Lost."""
    asked = proof.questions(service)
    answers: tuple[Answer, ...] = ask(
        Asked,
        endpoint=service.endpoint,
        requests=[(one.path, one.body, one.speech) for one in asked],
        seconds=PROOF_S,
        _timeout=PROOF_S * len(asked) + COMMAND_S,
    )
    for question, answer in zip(asked, answers, strict=True):
        said = proof.trouble(service, question, answer.status, answer.text)
        if said:
            # It may have died of the question, without a word.
            return f"{said} ({_why(service, question.path)})" if answer.status == "000" else said
    logger.info(f"{host.print_prefix}{service.name} gave {', '.join(dict.fromkeys(one.shows for one in asked))}")
    return None


def rates_of(service: Service, replica: ReplicaPlan) -> Rates | None:
    """How fast a replica answers a request that comes alone; None where its engine does not tell. Raises: Lost."""
    read = ENGINES[service.engine].rates
    if read is None or service.kind != "generate":
        return None
    asked = rates.question(service, replica.max_model_len)
    (answer,) = ask(
        Asked,
        endpoint=service.endpoint,
        requests=[(asked.path, asked.body, asked.speech)],
        seconds=PROOF_S,
        _timeout=PROOF_S + COMMAND_S,
    )
    found = read(answer.text) if answer.status == "200" else None
    if found:
        logger.info(
            f"{host.print_prefix}{service.name} alone: {found.decode_tokens_per_s:,.3g} tokens/s, "
            f"{found.prefill_tokens_per_s:,.3g} tokens/s of prompts"
        )
    return found


def _why(service: Service, asked: str | None) -> str:
    """What the host knows about a replica that ended by itself. Raises: Lost."""
    return explain(ask(ReplicaCrash, container=container(service.name), _timeout=COMMAND_S), asked)


def served_files(planned: Planned, served: Sequence[Service], *, answers: bool) -> list[tree.Entry]:
    """Plan, upstreams and last good services of a host that serves its plan; `answers`: its gateway has them."""
    return [
        tree.File(f"{STATE}/plan.json", _json(planned.to_dict())),
        tree.File(f"{STATE}/upstreams.json", _json(upstreams(served if answers else (), {}))),
        *(tree.File(f"{STATE}/{LAST_GOOD}/{one.name}.json", _good(one), mode="0640") for one in served),
    ]


def calibration(replica: ReplicaPlan, numbers: observed.Observed, settings: Settings, planned: Planned) -> Calibration:
    """What one start measured, under the key by which the next plan finds it."""
    non_torch = None
    if numbers.consumed_bytes is not None and numbers.weights_bytes is not None:
        non_torch = max(numbers.consumed_bytes - numbers.weights_bytes, 0)
    return Calibration(
        key=CalibrationKey(
            repository=replica.repository,
            quantization=replica.quantization,
            engine=planned.plan.engine_of(replica),
            build=settings.engine_build,
            gpu=replica.gpu_name,
            tensor_parallel_size=replica.tensor_parallel_size,
            pipeline_parallel_size=replica.pipeline_parallel_size,
            max_num_seqs=replica.max_num_seqs,
            max_num_batched_tokens=replica.max_num_batched_tokens,
            enforce_eager=settings.engine_build == "cpu",
            data_parallel_size=replica.data_parallel_size,
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
        compiled=numbers.compiled,
        loading_s=numbers.loading_s,
        loading=replica.loading.way if replica.loading else None,
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def paced(measured: Calibration, found: Rates) -> Calibration:
    """A measurement with rates. Of memory it keeps what is compared with a plan: files are mapped, not loaded."""
    return replace(
        measured,
        weights_bytes=None,
        available_kv_bytes=None,
        prefill_tokens_per_s=round(found.prefill_tokens_per_s, 2),
        decode_tokens_per_s=round(found.decode_tokens_per_s, 2),
    )


def _good(service: Service) -> str:
    return _json(LastGood(service, service.digest).to_dict())


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, sort_keys=True) + "\n"
