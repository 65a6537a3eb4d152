"""A host as the engine's operations see it: answers are given, what they write and run is kept."""

from __future__ import annotations

import base64
import gzip
import io
import json
import tarfile
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from types import SimpleNamespace
from typing import Any

from pyinfra.api.command import FunctionCommand, StringCommand
from pyinfra.context import ctx_host, ctx_state

from ingot.engines import Service
from ingot.facts.disk_rate import DiskRate
from ingot.facts.engine import Container, EngineLook, EngineState
from ingot.facts.gateway import ENGINES
from ingot.facts.nvidia import Gpus
from ingot.facts.paths import Paths, PathsLook, PathState
from ingot.facts.pool import Pool, PoolState
from ingot.gateway.upstreams import UPSTREAMS_FILE, parse_upstreams
from ingot.operations.gateway import drain
from ingot.operations.operation import guarded
from ingot.operations.serving import engine
from ingot.settings import of_host
from ingot.sizing import GPU
from tests.settings.values import DEFAULTS, Data

GIB = 1024**3

#: A small model of a site, as a host file describes it.
SMALL = {
    "config": {
        "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "num_hidden_layers": 4, "hidden_size": 256,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64, "intermediate_size": 768,
        "vocab_size": 320, "max_position_embeddings": 32768, "tie_word_embeddings": True, "torch_dtype": "bfloat16",
    },
    "variants": [{"name": "bf16", "repository": "site/small", "revision": "abc"}],
}  # fmt: skip

VALUES = {
    "cache_root": "/srv/models",
    "engine_image_archive": "/srv/vllm.tar",
    "engine_image_id": "sha256:" + "1" * 64,
    "serve": [{"model": "small", "context": 2048, "concurrency": 8, "replicas": 2}],
    "site_models": {"small": SMALL},
}


def card(index: int, free_gib: float = 22.0) -> GPU:
    return GPU(index, f"GPU-{index}", "NVIDIA A10G", int(22.5 * GIB), int(free_gib * GIB), (8, 6))


def one_run(executing: bool = True, at_once: int | None = None) -> SimpleNamespace:
    """Stands in for pyinfra's state, with so many hosts at once at most."""
    pool = SimpleNamespace(size=at_once)
    return SimpleNamespace(is_executing=executing, config=SimpleNamespace(DIFF=False), pool=pool)


class Inventory(list["OneHost"]):
    """Stands in for pyinfra's inventory: all of its hosts are worked on."""

    def get_active_hosts(self) -> list[OneHost]:
        return list(self)


class OneHost:
    """Stands in for pyinfra's host. `answers` are facts by class: a value, or a function of the fact's arguments."""

    def __init__(self, **values: Any) -> None:
        self.name = "gpu-01"
        self.print_prefix = "[gpu-01] "
        self.connector_data: dict[str, Any] = {}
        self.data = Data(**{**DEFAULTS, **VALUES, **values})
        self.groups: tuple[str, ...] = ()
        self.inventory = Inventory([self])
        self.files: dict[str, Any] = {}
        self.commands: list[str] = []
        self.refused: list[str] = []
        self.noops: list[str] = []
        self.containers: tuple[Container, ...] = ()
        self.modes: dict[str, str] = {}
        self.answers: dict[type, Any] = {Gpus: [card(0), card(1)], Paths: self._paths, DiskRate: None}

    def get_fact(self, fact: type, **arguments: Any) -> Any:
        if fact is EngineLook:
            state = "/var/lib/ingot/"
            stored = {path.removeprefix(state): text for path, text in self.files.items() if path.startswith(state)}
            known = {path: json.loads(text) for path, text in stored.items()}
            return EngineState(True, self.containers, known, self.files.get(engine.COMPOSE, ""))
        if fact is Pool:
            stored = parse_upstreams(self.files.get(UPSTREAMS_FILE, ""))[0]
            return PoolState(stored, has_gateway=ENGINES in self.files)
        answer = self.answers[fact]
        return answer(**arguments) if isinstance(answer, Callable) else answer

    def _paths(self, paths: Sequence[str], contents: Sequence[str]) -> PathsLook:
        return PathsLook(
            {
                path: PathState("file", "root", "root", self.modes[path], sha256=sha256(text.encode()).hexdigest())
                for path, text in self.files.items()
                if path in paths
            }
        )

    def connect(self, **_: Any) -> None:
        """It is."""

    def noop(self, said: str) -> None:
        self.noops.append(said)

    def run(self, operation: Any, executing: bool = True, run: SimpleNamespace | None = None) -> bool:
        """Run an operation's body to its end, or to its first command when preparing. Returns: whether it acted.

        `run` is what the hosts of one run share.
        """
        self.commands, self.refused, self.noops = [], [], []
        run = run or one_run(executing)
        with ctx_state.use(run), ctx_host.use(self):
            for command in guarded(operation._inner)():
                self._take(command)
                if not executing:
                    break
        return bool(self.commands or self.refused)

    def _take(self, command: Any) -> None:
        if isinstance(command, FunctionCommand) and command.function is drain.wait:
            self.commands.append(drain.idle(*command.args))
        elif isinstance(command, FunctionCommand):
            self.refused.append(command.args[0])
        elif "_stdin" in command.connector_arguments:
            self._write(command.connector_arguments["_stdin"])
        else:
            assert isinstance(command, StringCommand)
            self.commands.append(str(command))

    def _write(self, packed: str) -> None:
        """What tree.sh does with files: write and delete them."""
        members = dict(_members(packed))
        for line in members["plan"].splitlines():
            verb, path, *owned = line.split("\t")
            if verb == "file":
                self.files[path], self.modes[path] = members[f"root{path}"], owned[2]
            elif verb == "absent":
                self.files.pop(path, None)
        self.commands.append("write " + " ".join(sorted(name[4:] for name in members if name != "plan")))

    def wanted(self) -> tuple[Service, ...]:
        """The services that the host's values and GPUs ask for."""
        with ctx_host.use(self):
            return engine.services(engine.planning.host_plan(), of_host(self))

    def composed(self) -> str:
        """The Compose file as written."""
        return str(self.files[engine.COMPOSE])

    def serves(self, *services: Service, **changes: Any) -> None:
        """Let these services run and be healthy."""
        self.containers = tuple(running(service, **changes) for service in services)


def running(service: Service, **changes: Any) -> Container:
    values = {
        "service": service.name, "digest": service.digest, "image_id": service.image, "status": "running",
        "exit_code": 0, "restarts": 0, "age_s": 900, "address": service.address, "devices": service.devices,
        "healthy": True,
    }  # fmt: skip
    return Container(**{**values, **changes})


def _members(packed: str) -> Iterator[tuple[str, str]]:
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(base64.b64decode(packed)))) as archive:
        for member in archive:
            content = archive.extractfile(member)
            assert content is not None
            yield member.name, content.read().decode()
