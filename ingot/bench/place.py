"""Where a benchmark runs: a container of the engine's own image, on a host that may be another than the one it asks."""

from __future__ import annotations

import json
import secrets
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, Protocol

from ingot.bench.load import FAILED_SHARE, Load
from ingot.bench.measured import Asked
from ingot.errors import IngotError

#: The container's name: there is one benchmark at a time on a host.
NAME = "ingot-bench"
#: The program in the container, and what its lines begin with.
PROGRAM = (files(__package__) / "on_host.py").read_text()
MARK = "@@ingot-bench "
#: The engine's imports take this long on a busy machine, seconds.
READY_S = 300
MODEL_AT = "/model"
#: It takes the program from its first line of input, so that no file is written on the host.
_ENTRY = "import json, sys; exec(json.loads(sys.stdin.readline()))"


@dataclass(frozen=True, slots=True)
class Service:
    """What is asked: the gateway's URL without a path, its names by address, and the model as callers name it."""

    url: str
    model: str
    names: Mapping[str, str]
    ca: str
    key: str = field(repr=False)


class Stream(Protocol):
    """A command on a host while it runs: lines go in and come out. `lines` ends with the command."""

    def send(self, line: str) -> None: ...
    def lines(self, timeout_s: float) -> Iterator[str]: ...


def command(image: str, model_directory: str, user: str, names: Mapping[str, str], limit_s: int) -> str:
    """The shell command of the container. It ends by itself after `limit_s`, whoever has gone away."""
    words = [
        "docker", "run", "--rm", "--interactive", "--name", NAME, "--pull", "never", "--network", "host",
        *(f"--add-host={name}:{address}" for name, address in sorted(names.items())),
        "--user", user, "--read-only", "--tmpfs", "/tmp:rw,size=1g", "--cap-drop", "ALL",
        "--security-opt", "no-new-privileges", "--pids-limit", "1024",
        "--volume", f"{model_directory}:{MODEL_AT}:ro",
        "--env", "HF_HUB_OFFLINE=1", "--env", "HOME=/tmp", "--env", "VLLM_NO_USAGE_STATS=1", "--env", "DO_NOT_TRACK=1",
        "--entrypoint", "timeout", image, str(limit_s), "python3", "-u", "-c", _ENTRY,
    ]  # fmt: skip
    return shlex.join(words)


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

    def run(self, load: Load, limit_s: float, progress: Callable[[int, int], None]) -> list[Asked] | Failed:
        """One level: every request that it made, or why it was stopped. `progress` is told how many came back, failed.

        Raises: IngotError when the container ended.
        """
        wanted = {
            "arguments": arguments(load, self._service, secrets.randbelow(1 << 31)),
            "backend": "openai",
            "limit_s": limit_s,
            "failed_share": FAILED_SHARE,
        }
        self._stream.send(json.dumps(wanted))
        for said in self._said(limit_s + 60):
            if "result" in said:
                return asked(said["result"])
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


def asked(result: Mapping[str, Any]) -> list[Asked]:
    """The requests of a level's result. The engine's tool gives a failed one no times, and says why it failed."""
    began = min(result["start_times"], default=0.0)
    columns = ("start_times", "ttfts", "itls", "input_lens", "output_lens", "errors")
    return [
        Asked(sent - began, not error, ttft, tuple(itls), taken, given)
        for sent, ttft, itls, taken, given, error in zip(*(result[name] for name in columns), strict=True)
    ]
