"""Replicas replaced one at a time: each proven by what it is for, and undone when it does not give one."""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from pyinfra import logger
from pyinfra.api.command import PyinfraCommand, StringCommand
from pyinfra.api.facts import FactBase
from pyinfra.context import host, state

from ingot.engines import Service, Step, observed, proof
from ingot.errors import IngotError
from ingot.facts.asking import Answer, Asked
from ingot.facts.crash import ReplicaCrash
from ingot.facts.engine import STATE, EngineState
from ingot.facts.probe import path_of
from ingot.facts.replica import Evidence, Glance, ReplicaEvidence, ReplicaGlance, ReplicaLog
from ingot.operations import tree
from ingot.operations.connection import reconnect
from ingot.operations.gateway import drain
from ingot.operations.serving import replica_watch
from ingot.operations.serving.crash import explain
from ingot.operations.serving.planning import Planned, calibrations
from ingot.operations.serving.services import cache_directory, compose_file, container, removal, upstreams
from ingot.operations.serving.stored import LAST_GOOD, LastGood, stored_services
from ingot.settings import Settings
from ingot.sizing import Calibration, CalibrationKey, ReplicaPlan
from ingot.sizing.calibration import dump

COMPOSE = "/etc/ingot/engine/compose.yaml"

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
    measured: list[Calibration] = field(default_factory=list)

    def __post_init__(self) -> None:
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
            and files.get("upstreams.json") == upstreams(self.wanted)
            and all(files.get(f"{LAST_GOOD}/{one.name}.json") == json.loads(_good(one)) for one in self.wanted)
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
            yield from drain.drain(self._addresses(step), service.stop_grace_s)
            displaced = [self.live.pop(name) for name in step.displaces if name in self.live]
            self.live[service.name] = service
            yield from self._start(service, step.displaces)
            before = 0
        else:
            displaced = [service]
            before = next(one.restarts for one in self.found.containers if one.service == service.name)
        if not state.is_executing:
            return None
        began = time.monotonic()
        try:
            trouble = watch(service, before) or prove(service) or self._hold(service, before)
            if trouble:
                return (yield from self._give_up(service, trouble, displaced))
        except Lost:
            return (
                f"{host.name}: the connection was lost while {service.name} starts, and not found again within "
                f"{RECONNECT_S} s; it goes on there, run again to wait for it."
            )
        logger.info(f"{host.print_prefix}{service.name} answers after {time.monotonic() - began:.0f} s")
        yield from tree.tree._inner(entries=[self._good(service), self._measurements()])
        yield from drain.restore(service.model, service.endpoint)
        yield StringCommand(replica_watch.LOOK, _timeout=COMMAND_S)
        return None

    def _addresses(self, step: Step) -> set[str]:
        """Where callers would miss what this step stops."""
        stopped = {one.address for one in self.found.containers if one.service in step.displaces}
        return {step.service.endpoint, *(f"{address}:{step.service.port}" for address in stopped)}

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
        evidence: Evidence = ask(
            ReplicaEvidence,
            container=container(service.name),
            endpoint=service.endpoint,
            health=service.health_path,
            hold=self.settings.engine_hold_s,
            lines=observed.LOG_LINES,
            _timeout=self.settings.engine_hold_s + COMMAND_S,
        )
        if evidence.status != "running" or evidence.restarts != before or evidence.health != "200":
            why = _why(service, proof.questions(service)[-1].path)
            return f"answered once and then stopped within {self.settings.engine_hold_s} s ({why})"
        numbers = observed.parse(evidence.log, evidence.metrics)
        replica = self.planned.plan.replicas[self.wanted.index(service)]
        self.measured.append(calibration(replica, numbers, self.settings, self.planned))
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
                return f"{sentence}; the last good {old.name} did not start again either, so it is down."
            yield from drain.restore(old.model, old.endpoint)
        names = ", ".join(old.name for old in back)
        return f"{sentence}, correct its settings and deploy again; the last good {names} serves again."

    def _settle(self) -> Commands:
        """The Compose file without what failed, so that a boot does not start it."""
        left = compose_file(self.live.values(), self.settings) if self.live else None
        yield from tree.tree._inner(entries=[tree.File(COMPOSE, left, mode="0640") if left else tree.Absent(COMPOSE)])


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
        silent += glance.health == "200"
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


def _why(service: Service, asked: str | None) -> str:
    """What the host knows about a replica that ended by itself. Raises: Lost."""
    return explain(ask(ReplicaCrash, container=container(service.name), _timeout=COMMAND_S), asked)


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
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _good(service: Service) -> str:
    return _json(LastGood(service, service.digest).to_dict())


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, sort_keys=True) + "\n"
