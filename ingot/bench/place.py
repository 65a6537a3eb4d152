"""Where a benchmark runs: a container of the engine's own image, on a host that may be another than the one it asks."""

from __future__ import annotations

import json
import secrets
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, Protocol

from ingot.bench.load import Load
from ingot.bench.measured import Asked
from ingot.errors import IngotError

#: The container's name: there is one benchmark at a time on a host, which its lock sees to.
NAME = "ingot-bench"
#: What its containers are told by. One that a dead Docker left behind is removed before the next begins.
LABEL = "ingot.bench"
#: The program in the container, and what its lines begin with.
PROGRAM = (files(__package__) / "on_host.py").read_text()
MARK = "@@ingot-bench "
#: The engine's imports take this long on a busy machine, seconds.
READY_S = 300
MODEL_AT = "/model"
#: Nothing leaves the house, and what is written goes to memory. USER and LOGNAME spare torch a look for its user.
ENVIRONMENT = {
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "HOME": "/tmp",
    "LOGNAME": "vllm",
    "TRANSFORMERS_OFFLINE": "1",
    "USER": "vllm",
    "VLLM_NO_USAGE_STATS": "1",
}
#: It takes the program from its first line of input, so that no file is written on the host.
_ENTRY = "import json, sys; exec(json.loads(sys.stdin.readline()))"


@dataclass(frozen=True, slots=True)
class Service:
    """What is asked: the gateway's URL without a path, addresses of names that need one, the model as callers name it.

    `ca` is the internal CA's certificate, trusted besides the public ones; empty where there is none.
    """

    url: str
    model: str
    names: Mapping[str, str]
    ca: str
    key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Place:
    """What a host has for the container: an engine's image, its user, and the model's files for their tokenizer."""

    image: str
    user: str
    model_directory: str


class Stream(Protocol):
    """A command on a host while it runs: lines go in and come out. `lines` ends with the command."""

    def send(self, line: str) -> None: ...
    def lines(self, timeout_s: float) -> Iterator[str]: ...
    def close(self) -> None: ...


def command(place: Place, names: Mapping[str, str], limit_s: float) -> str:
    """The shell command of the container. It ends by itself after `limit_s`, whoever has gone away."""
    words = [
        "docker", "run", "--rm", "--interactive", "--name", NAME, "--label", f"{LABEL}=1", "--pull", "never",
        "--network", "host", *(f"--add-host={name}:{address}" for name, address in sorted(names.items())),
        "--user", place.user, "--read-only", "--tmpfs", "/tmp:rw,nosuid,nodev,mode=1777,size=1g",
        "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--pids-limit", "4096",
        # Where memory is short the kernel ends this first, and no engine.
        "--oom-score-adj", "1000",
        "--volume", f"{place.model_directory}:{MODEL_AT}:ro",
        *(word for name, value in ENVIRONMENT.items() for word in ("--env", f"{name}={value}")),
        "--entrypoint", "timeout", place.image, f"{limit_s:.0f}", "python3", "-u", "-c", _ENTRY,
    ]  # fmt: skip
    left = f"docker ps --all --quiet --filter label={LABEL}"
    return f'ids=$({left}); [ -z "$ids" ] || docker rm --force $ids >/dev/null; exec {shlex.join(words)}'


def arguments(load: Load, service: Service, seed: int) -> list[str]:
    """The arguments of `vllm bench serve` 0.32 and 0.33 for a level. A seed that was used measures the prefix cache."""
    shared = int(load.input_tokens * load.shared_prefix)
    return [
        "--backend", "ingot", "--base-url", service.url, "--endpoint", "/v1/completions",
        "--model", service.model, "--served-model-name", service.model, "--tokenizer", MODEL_AT,
        "--dataset-name", "random", "--random-prefix-len", str(shared),
        "--random-input-len", str(load.input_tokens - shared), "--random-output-len", str(load.output_tokens),
        "--num-prompts", str(load.requests), "--num-warmups", str(load.warm_up),
        "--max-concurrency", str(load.at_once), "--request-rate", "inf" if load.per_s is None else str(load.per_s),
        "--seed", str(seed), "--temperature", "0", "--ignore-eos", "--save-detailed", "--disable-tqdm",
        "--ready-check-timeout-sec", "60",
    ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Failed:
    """Why a level ended before its end, in words without the host's name."""

    why: str


class Bench:
    """A container that waits for levels: `run` one after the other."""

    def __init__(self, host: str, stream: Stream, service: Service) -> None:
        """Raises: IngotError when it does not come up."""
        self._host, self._stream, self._service = host, stream, service
        stream.send(json.dumps(PROGRAM))
        stream.send(json.dumps({"key": service.key, "ca": service.ca}))
        for said in self._said(READY_S):
            if "ready" in said:
                return
        raise self._ended()

    def run(
        self, load: Load, limit_s: float, failed_share: float, progress: Callable[[int, int], None]
    ) -> list[Asked] | Failed:
        """One level: every request that it made, or why it was stopped. `progress` is told how many came back, failed.

        Raises: IngotError when the container ended.
        """
        wanted = {
            "arguments": arguments(load, self._service, secrets.randbelow(1 << 31)),
            "backend": "openai",
            "limit_s": limit_s,
            "failed_share": failed_share,
        }
        self._stream.send(json.dumps(wanted))
        for said in self._said(limit_s + 60):
            if "result" in said:
                return asked(said["result"], is_open=load.per_s is not None)
            if "error" in said:
                return Failed(str(said["error"]))
            progress(int(said["done"]), int(said["failed"]))
        raise self._ended()

    def _said(self, timeout_s: float) -> Iterator[Mapping[str, Any]]:
        self._last: list[str] = []
        for line in self._stream.lines(timeout_s):
            if line.startswith(MARK):
                yield json.loads(line.removeprefix(MARK))
            elif line.strip():
                self._last = [*self._last[-4:], line.strip()]

    def _ended(self) -> IngotError:
        said = " / ".join(self._last)[-400:] or "it said nothing"
        return IngotError(f"{self._host}: the benchmark's container ended before its time ({said}); run it again.")


def asked(result: Mapping[str, Any], *, is_open: bool) -> list[Asked]:
    """The requests of a level's result. The engine's tool gives a failed one no times, and says why it failed.

    Callers of an open loop wait from the moment they came, also where the tool itself held them back.
    """
    began = min(result["start_times"], default=0.0)
    waits = result.get("queue_times") if is_open else None
    columns = ("start_times", "ttfts", "itls", "input_lens", "output_lens", "errors")
    rows = zip(*(result[name] for name in columns), waits or [0.0] * len(result["errors"]), strict=True)
    return [
        Asked(sent - began - wait, not error, ttft + wait, tuple(itls), taken, given)
        for sent, ttft, itls, taken, given, error, wait in rows
    ]
