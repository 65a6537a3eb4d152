"""Replicas that crash, hang or never get ready: judged by their container, their health and an answer of theirs."""

from __future__ import annotations

import io
import json
import re
import wave
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Any

from ingot.engines.replica_watch import calls
from ingot.engines.replica_watch.settings import Replica, Settings

HEALTH_LIMIT_S = 10
#: How long the answer to one short question may take where nothing else runs, seconds.
ANSWER_LIMIT_S = 30
#: An idle replica is asked this often, seconds.
ASK_EVERY_S = 55
#: An engine with requests none of whose numbers moves for so long stands still, seconds.
STALL_S = 180
#: So many misses take it out of the pool, and so many start it again. A health route that does not say 200 is one, an
#: answer that does not come is half of a restart.
MISSES_OUT = 2
MISSES_RESTART = 8
NO_ANSWER = 4
STILL_NONE = 2
#: So many crashes, or restarts by this watch, within this time are a loop, which ends with the replica stopped.
LOOP = 4
LOOP_S = 1800
#: Numbers that move with each step of an engine that works; a long prompt fills its cache before it makes a token.
_COUNTED = re.compile(
    r"^(?:(?:vllm|llamacpp|sglang):|(?=tgi_))(num_requests_running|num_requests_waiting|requests_processing"
    r"|requests_deferred|num_running_reqs|num_queue_reqs|tgi_batch_current_size|tgi_queue_size"
    r"|\w+_tokens_total|iteration_tokens_total_count|kv_cache_usage_perc|tokens_predicted_total|n_decode_total)"
    r"[{ ].*?([0-9.eE+-]+)$",
    re.M,
)
#: Of these, the requests that run or wait.
_REQUESTS = ("num_requests", "requests_", "num_running_reqs", "num_queue_reqs", "tgi_")


@dataclass(frozen=True)
class Seen:
    """What one look saw: `health` is an HTTP status, `requests` run or wait, `progress` moves while the engine works.

    `answer` is the status of a short question's answer, None where none was asked; `requests` and `progress` are None
    where the engine does not tell. `started` is Docker's word for when, `age_s` how long the container runs.
    """

    container: str = ""
    started: str = ""
    status: str = "missing"
    exit_status: int = 0
    restarts: int = 0
    age_s: float = 0.0
    health: int = 0
    requests: float | None = None
    progress: float | None = None
    answer: int | None = None


@dataclass(frozen=True)
class Memory:
    """What the looks before saw of one container; times are seconds since the epoch."""

    container: str = ""
    started: str = ""
    was_ready: bool = False
    restarts: int = 0
    crashed_at: tuple[float, ...] = ()
    restarted_at: tuple[float, ...] = ()
    asked_at: float = 0.0
    progress: float = -1.0
    moved_at: float = 0.0
    misses: int = 0
    stopped: str = ""

    @classmethod
    def of(cls, stored: Any) -> Memory:
        """What `vars` of one became in JSON; nothing is remembered from what cannot be read."""
        try:
            return cls(**{**stored, **{name: tuple(stored[name]) for name in ("crashed_at", "restarted_at")}})
        except (TypeError, KeyError):
            return cls()


@dataclass(frozen=True)
class Verdict:
    """Why a replica shall get no requests (None: it is well), what Docker is asked to do, and what is remembered."""

    why: str | None
    action: str = ""
    memory: Memory = field(default_factory=Memory)


def wants_an_answer(replica: Replica, seen: Seen, memory: Memory, is_held: bool, now: float) -> bool:
    """Whether an idle replica is asked a question in this look: once a minute, and always where it is out or loads."""
    loads = replica.ready_by_answer and not (memory.was_ready and seen.started == memory.started)
    # One that tells nothing of itself has none while it is out.
    has_none = seen.requests == 0 or ((is_held or loads) and seen.requests is None and seen.progress is None)
    is_idle = seen.status == "running" and seen.health == 200 and has_none
    return is_idle and (is_held or loads or now - memory.asked_at >= ASK_EVERY_S)


def judge(replica: Replica, seen: Seen, memory: Memory, is_held: bool, now: float) -> Verdict:
    """What is wrong with a replica, and what is done about it; one that is out comes back when it has answered."""
    if seen.container != memory.container:
        memory = Memory(container=seen.container, restarts=seen.restarts, moved_at=now)
    memory = _counted(replica, seen, memory, now)
    if seen.status != "running":
        return _not_running(seen, memory)
    if memory.stopped:
        memory = replace(memory, stopped="", crashed_at=(), restarted_at=())
    if len(memory.crashed_at) >= LOOP:
        return _stopped(memory, f"it crashed {len(memory.crashed_at)} times in {LOOP_S // 60} min")
    trouble, misses = _trouble(replica, seen, memory, now)
    works = seen.answer == 200 or seen.requests is None or (seen.requests > 0 and memory.moved_at == now)
    if trouble is None and is_held and not works:
        # It was out for not answering: what is with it now may be the question that it was asked then.
        trouble, misses = "it has not answered since", STILL_NONE if seen.requests else 0
    if trouble is None:
        return Verdict(None, memory=replace(memory, misses=0) if works else memory)
    memory = replace(memory, misses=memory.misses + misses)
    why = trouble if is_held or memory.misses >= MISSES_OUT else None
    is_starting = _is_starting(replica, seen, memory)
    if memory.misses < MISSES_RESTART or is_starting or not misses:
        return Verdict(why, memory=memory)
    if len(memory.restarted_at) + 1 >= LOOP:
        return _stopped(memory, f"{trouble}, after {len(memory.restarted_at)} restarts")
    again = replace(memory, misses=MISSES_OUT, restarted_at=(*memory.restarted_at, now), moved_at=now)
    return Verdict(f"{trouble}; it is started again", "restart", again)


def _is_starting(replica: Replica, seen: Seen, memory: Memory) -> bool:
    """Whether a replica may still be loading."""
    may_load = seen.health != 200 or replica.ready_by_answer
    return may_load and not memory.was_ready and seen.age_s < replica.start_deadline_s


def _counted(replica: Replica, seen: Seen, memory: Memory, now: float) -> Memory:
    """Memory with what this look counted; what is older than a loop's time is forgotten."""
    crashes = (now,) * max(seen.restarts - memory.restarts, 0)
    is_ready = seen.answer == 200 if replica.ready_by_answer else seen.health == 200
    was_ready = is_ready or (memory.was_ready and seen.started == memory.started)
    recent = tuple(when for when in (*memory.crashed_at, *crashes) if now - when < LOOP_S)
    moved = seen.progress is None or seen.progress != memory.progress or not seen.requests
    return replace(
        memory,
        started=seen.started,
        was_ready=was_ready,
        restarts=seen.restarts,
        crashed_at=recent,
        restarted_at=tuple(when for when in memory.restarted_at if now - when < LOOP_S),
        asked_at=now if seen.answer is not None else memory.asked_at,
        progress=memory.progress if seen.progress is None else seen.progress,
        moved_at=now if moved else memory.moved_at,
    )


def _not_running(seen: Seen, memory: Memory) -> Verdict:
    if memory.stopped:
        return Verdict(memory.stopped, memory=memory)
    if seen.status == "restarting" and len(memory.crashed_at) >= LOOP:
        return _stopped(memory, f"it crashed {len(memory.crashed_at)} times in {LOOP_S // 60} min")
    if seen.status == "missing":
        return Verdict("it has no container", memory=memory)
    return Verdict(f"its container is {seen.status} (exit status {seen.exit_status})", memory=memory)


def _stopped(memory: Memory, reason: str) -> Verdict:
    sentence = f"{reason}; it is stopped: read its log, then deploy"
    return Verdict(sentence, "stop", replace(memory, stopped=sentence))


def _trouble(replica: Replica, seen: Seen, memory: Memory, now: float) -> tuple[str | None, int]:
    """What is wrong with one that runs, and how many misses it counts."""
    if seen.health != 200:
        said = f"says {seen.health}" if seen.health else "says nothing"
        if _is_starting(replica, seen, memory):
            return f"it is starting ({seen.age_s:.0f} s), its health route {said}", MISSES_OUT
        return f"its health route {said} {seen.age_s:.0f} s after its start", 1
    if seen.requests and now - memory.moved_at >= STALL_S:
        return (
            f"{seen.requests:.0f} requests are with it, and it does nothing for {now - memory.moved_at:.0f} s",
            NO_ANSWER,
        )
    if seen.answer is not None and seen.answer != 200 and _is_starting(replica, seen, memory):
        return f"it is starting ({seen.age_s:.0f} s), and has not answered yet", MISSES_OUT
    if seen.answer is not None and seen.answer != 200:
        said = f"was answered with {seen.answer}" if seen.answer else f"had no answer in {ANSWER_LIMIT_S} s"
        return f"it says that it is well, and a short question {said}", NO_ANSWER
    return None, 0


# --- what is read and done


def look(
    replicas: Iterable[Replica], settings: Settings, remembered: Mapping[str, Memory], held: Iterable[str], now: float
) -> dict[str, Seen] | None:
    """What every replica looks like, by name; None when Docker tells nothing."""
    names = {f"{settings.project}-{replica.name}": replica for replica in replicas}
    listed = calls.run("docker", "ps", "--all", "--no-trunc", "--format", "{{.Names}}", must_succeed=True)
    if listed is None:
        return None
    there = sorted(set(listed.split()) & set(names))
    inspected = _json(calls.run("docker", "inspect", *there, must_succeed=True)) if there else []
    if inspected is None:
        return None
    containers = {str(one["Name"]).lstrip("/"): one for one in inspected}
    out = set(held)

    def see(name: str) -> Seen:
        replica = names[name]
        seen = _container(containers[name], now) if name in containers else Seen()
        if seen.status != "running":
            return seen
        seen = _engine(replica, seen)
        if wants_an_answer(replica, seen, remembered.get(replica.name, Memory()), replica.address in out, now):
            seen = replace(seen, answer=_answer(replica, settings.questions))
        return seen

    with ThreadPoolExecutor(max(len(names), 1)) as pool:
        return {names[name].name: seen for name, seen in zip(names, pool.map(see, names))}  # noqa: B905 (python 3.9)


def _json(text: str | None) -> Any:
    try:
        return json.loads(text or "")
    except ValueError:
        return None


def _container(one: Mapping[str, Any], now: float) -> Seen:
    state = one["State"]
    # Docker writes nanoseconds, which datetime does not read.
    began = datetime.strptime(state["StartedAt"][:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)  # noqa: UP017
    return Seen(
        str(one["Id"]), str(state["StartedAt"]), str(state["Status"]), int(state["ExitCode"]), int(one["RestartCount"]),
        max(now - began.timestamp(), 0.0),
    )  # fmt: skip


def _engine(replica: Replica, seen: Seen) -> Seen:
    health, _ = calls.get(f"http://{replica.address}{replica.health}", HEALTH_LIMIT_S)
    status, text = calls.get(f"http://{replica.address}/metrics", HEALTH_LIMIT_S) if health == 200 else (0, "")
    counted = [(name, float(value)) for name, value in _COUNTED.findall(text)] if status == 200 else []
    requests = [value for name, value in counted if name.startswith(_REQUESTS)]
    moving = [value for name, value in counted if not name.startswith(_REQUESTS)]
    return replace(
        seen, health=health, requests=sum(requests) if requests else None, progress=sum(moving) if moving else None
    )


def _answer(replica: Replica, questions: Mapping[str, Any]) -> int:
    path, body = questions[replica.kind]
    url = f"http://{replica.address}{path}"
    if replica.kind != "transcribe":
        return calls.post(url, {"model": replica.model, **body}, ANSWER_LIMIT_S)
    form = _form({"model": replica.model, **body}, _silence())
    return calls.post(url, form, ANSWER_LIMIT_S, "multipart/form-data; boundary=ingot")


def _silence() -> bytes:
    """One second of it as a WAV file."""
    made = io.BytesIO()
    with wave.open(made, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(bytes(32_000))
    return made.getvalue()


def _form(fields: Mapping[str, str], sound: bytes) -> bytes:
    parts = [
        f'--ingot\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    head = b'--ingot\r\nContent-Disposition: form-data; name="file"; filename="silence.wav"\r\n'
    return b"".join([*parts, head, b"Content-Type: audio/wav\r\n\r\n", sound, b"\r\n--ingot--\r\n"])
