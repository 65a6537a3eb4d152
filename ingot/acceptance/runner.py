"""One host's acceptance from start to end: looked at, started in a unit of its own, waited for, read and judged."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from paramiko import SSHException
from pyinfra.api.exceptions import ConnectError
from pyinfra.api.host import Host

from ingot.acceptance import script
from ingot.acceptance.burnin import PHASES
from ingot.acceptance.evidence import ACCEPTANCE_FILE, EVIDENCE_FILE, Outcome, now, overridden, standing
from ingot.acceptance.finding import Finding, Measured, Verdict
from ingot.acceptance.judge import judge
from ingot.acceptance.level import WITHOUT, Level, key_of
from ingot.acceptance.looking import Seen, look
from ingot.acceptance.measured import parse_burn_in, parse_dcgm, parse_fio
from ingot.acceptance.readings import Look, parse_look, parse_trace
from ingot.acceptance.remote import COMMAND_S, run, write
from ingot.acceptance.speed import Medians
from ingot.errors import IngotError
from ingot.facts.errors import ParseError
from ingot.facts.pool import Pool, PoolState
from ingot.facts.sections import Section, compose, split
from ingot.gateway.upstreams import marked
from ingot.inventory.expectation import Expectation, parse
from ingot.operations import detached
from ingot.operations.bundle import pack
from ingot.operations.connection import reconnect
from ingot.operations.gateway import drain
from ingot.operations.preflight.ordered_hardware import differences
from ingot.settings import of_host

#: A lost connection is tried again for this long; the host goes on meanwhile.
RECONNECT_S = 600

#: Tells how far a host is: one line.
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Options:
    """What the operator asked for."""

    level: Level
    burn_in: bool = True
    again: bool = False


def accept(host: Host, name: str, options: Options, say: Say, fleet: Sequence[Medians]) -> Outcome:
    """Accept one connected host, the one in context.

    Raises: IngotError, one sentence naming the host, where it could not be gone through.
    """
    say("looking")
    seen = look(host, name, burn_in=options.burn_in)
    ordered = _ordered(host, name)
    job = _job(host, options, seen)
    # What an earlier run started goes on by itself; this one takes up what it leaves.
    if _asked(host) == "running":
        _wait(host, name, job, say)
    _start(host, job)
    _wait(host, name, job, say)
    say("judging")
    measured = _read(host, name, ordered, seen)
    verdict, findings = judge(measured, fleet)
    level = options.level.name if options.burn_in else WITHOUT
    outcome = Outcome(name, level, now(), verdict, findings, measured, seen.shown())
    if verdict is not Verdict.FAIL and (sentence := standing(_stored(host), level)):
        # The file that holds it out of the pool stays as it is.
        failed = Finding(Verdict.FAIL, sentence)
        return replace(outcome, verdict=Verdict.FAIL, findings=(failed, *outcome.findings))
    record(host, records(outcome))
    return outcome


def records(outcome: Outcome) -> dict[str, Mapping[str, Any]]:
    """What a host keeps of an outcome, by file."""
    return {ACCEPTANCE_FILE: outcome.acceptance(), EVIDENCE_FILE: outcome.to_dict()}


def override(host: Host, name: str, reason: str) -> dict[str, Any]:
    """Let a host serve that failed, with the reason; returns its acceptance as it is now. Raises: IngotError."""
    acceptance = overridden(_stored(host), name, reason)
    record(host, {ACCEPTANCE_FILE: acceptance})
    return acceptance


def _stored(host: Host) -> str:
    return run(host, f"cat {ACCEPTANCE_FILE} 2>/dev/null; true").stdout


def record(host: Host, contents: Mapping[str, Mapping[str, Any]]) -> None:
    """Write what others read on the host, and have its gateway follow at once."""
    for path, content in contents.items():
        write(host, path, json.dumps(content, indent=1, sort_keys=True) + "\n")
    found: PoolState = host.get_fact(Pool)
    if found.has_gateway:
        for file in drain.pool_files(found, found.upstreams):
            write(host, file.path, file.bytes.decode())
        run(host, drain.RELOAD)


def _ordered(host: Host, name: str) -> Expectation:
    try:
        return parse(host.data.get("expect") or {})
    except ValueError as error:
        raise IngotError(f"{name}: `expect` is not understood: {error}.") from None


def _job(host: Host, options: Options, seen: Seen) -> script.Job:
    values = of_host(host)
    addresses = [address for one in seen.pool.upstreams for address in one.replicas]
    drained = {}
    if seen.pool.has_gateway and addresses:
        files = drain.pool_files(seen.pool, marked(seen.pool.upstreams, None))
        drained = {file.path: file.bytes.decode() for file in files}
    key = key_of(
        options.level,
        boot_id=seen.boot_id,
        image=seen.image,
        gpus=seen.gpus,
        driver=seen.driver,
        script=script.burn_in_script(),
    )
    return script.Job(
        level=options.level,
        key=key,
        image=seen.image,
        gpus=seen.gpus,
        cache_root=values.cache_root,
        grace_s=values.engine_stop_grace_s,
        burn_in=bool(seen.gpus),
        again=options.again,
        shm_bytes=values.engine_shm_bytes,
        pids=values.engine_pids,
        idle=drain.idle(addresses, values.engine_stop_grace_s) if addresses else "true",
        drained=drained,
    )


def _start(host: Host, job: script.Job) -> None:
    packed = pack(detached.packed(script.run_script(), job.members()))
    done = run(host, detached.starter(script.UNIT, COMMAND_S), stdin=packed, timeout_s=COMMAND_S * 2)
    if not done.good:
        raise IngotError(f"{host.name}: the acceptance did not start there ({done.said}); read `journalctl -n 50`.")


def _asked(host: Host) -> str | None:
    """What the host's unit does: running, ended, gone; None when it gave no answer."""
    answer = detached.parse(run(host, detached.question(script.UNIT, False)).stdout)
    return answer.state if answer else None


def _wait(host: Host, name: str, job: script.Job, say: Say) -> None:
    """Until the unit has ended, across lost connections."""
    limit = job.level.longest_s(len(job.gpus)) + 4 * RECONNECT_S
    began = answered = time.monotonic()
    question = detached.question(script.UNIT, False)
    connected = True
    while (moment := time.monotonic()) - began < limit:
        answer = None
        # Without a connection there is nobody to ask: pyinfra's client would fail in a way of its own.
        if connected:
            with contextlib.suppress(OSError, EOFError, SSHException, ConnectError):
                answer = detached.parse(run(host, question, timeout_s=detached.SLICE_S + 30).stdout)
        if answer is None:
            if moment - answered > RECONNECT_S:
                raise IngotError(
                    f"{name}: the connection was lost and not found again within {RECONNECT_S} s; the acceptance goes "
                    "on there, run the same line again to wait for it."
                )
            connected = reconnect(host)
            continue
        answered = moment
        if answer.state == "ended":
            return
        if answer.state == "gone":
            raise IngotError(
                f"{name}: {script.UNIT}.service was killed before it ended; run the same line again, it goes on with "
                "the steps that are left."
            )
        say(answer.text or "starting")
    raise IngotError(f"{name}: {script.UNIT}.service is still at work after {limit} s; read its log on the host.")


def _read(host: Host, name: str, ordered: Expectation, seen: Seen) -> Measured:
    names = (*script.OUTPUTS, script.TRACE)
    asked = compose({one: f"cat {script.RESULTS}/{one} 2>/dev/null" for one in names})
    try:
        found = split(run(host, asked, timeout_s=COMMAND_S * 3).stdout.splitlines())
    except ParseError as error:
        raise IngotError(f"{name}: {error}") from None
    texts = {one: found.get(one, Section("")).output for one in names}
    if texts["refused"]:
        raise IngotError(f"{name}: {texts['refused'].strip()}.")
    burn_in = parse_burn_in(texts["burn_in"]) if texts["burn_in"].strip() else None
    disk, diagnostics = parse_fio(texts["disk"]), parse_dcgm(texts["dcgm"])
    missing, undone = [], []
    if disk is None:
        missing.append("the disk could not be measured (no fio, or no room below the cache root)")
    if seen.fault:
        undone.append(seen.fault)
    if seen.gpus and (burn_in is None or set(PHASES) - set(burn_in.finished)):
        left = [one for one in PHASES if burn_in is None or one not in burn_in.finished]
        said = texts["burn_in_errors"].strip().splitlines()[-1:] or ["read its log on the host"]
        undone.append(f"the burn-in ended before {', '.join(left)}: {said[0][:200]}")
    if texts["stopped"]:
        undone.append(f"not all replicas came back ({' '.join(texts['stopped'].split())}); deploy the host again")
    return Measured(
        before=_look_of(texts, "before"),
        after=_look_of(texts, "after"),
        samples=parse_trace(texts[script.TRACE]),
        burn_in=burn_in,
        disk=disk,
        diagnostics=diagnostics,
        differences=differences(ordered, seen.hardware),
        nvme_ordered=any(one.kind == "NVMe" for one in ordered.disks),
        missing=tuple(missing),
        undone=tuple(undone),
    )


def _look_of(texts: Mapping[str, str], when: str) -> Look:
    parts = (texts[f"{when}_{what}"] for what in ("counters", "newer", "nvlink", "detail", "kernel"))
    return parse_look(*parts)
