"""A deployed host as it was captured, to be broken in one place and judged by the checks of tests/hosts."""

from __future__ import annotations

import inspect
import runpy
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from ingot.engines import proof
from ingot.facts.sections import Section
from tests.hosts.https import Answer, Session
from tests.hosts.look import Look, parse_look
from tests.hosts.outside import PROBES, Outside, Refused, Served
from tests.hosts.target import Target
from tests.operations.serving.onehost import SMALL
from tests.settings.values import DEFAULTS, Data

ROOT = Path(__file__).parent.parent.parent
#: What a test host (Debian 13, one RTX 4090) answered to tests/hosts/look.py, shortened where nothing reads it.
CAPTURE = (Path(__file__).parent / "captures" / "served-host.txt").read_text(encoding="utf-8")
NAME, ADDRESS = "gpu-01", "192.0.2.11"
#: What such a host answers besides where it watches itself.
WATCHED = {
    "units": "\n".join(
        f"{unit} active enabled"
        for unit in (
            "prometheus-node-exporter",
            "ingot-metrics.timer",
            "ingot-monitoring",
            "prometheus",
            "prometheus-alertmanager",
        )
    ),
    "listeners": 'LISTEN 0 4096 127.0.0.1:9100 0.0.0.0:* users:(("prometheus-node",pid=7,fd=3))',
    "figures_age": "9",
    "figures": "ingot_collector_last_run_seconds 1796000000",
}
#: The key of the package sources that it was deployed from.
KEY = next(iter(parse_look(CAPTURE).keyrings.values()))[0]
SANDBOX = runpy.run_path(str(ROOT / "group_data" / "sandbox.py"))
MODULES = tuple(
    import_module(f"tests.hosts.{path.stem}") for path in sorted((ROOT / "tests" / "hosts").glob("test_*.py"))
)
CHECKS = {
    name: (module, check)
    for module in MODULES
    for name, check in vars(module).items()
    if name.startswith("test_") and callable(check)
}


def data(**values: Any) -> Data:
    """The values that the captured host was deployed with."""
    known = {
        **DEFAULTS,
        **{name: value for name, value in SANDBOX.items() if not name.startswith("__")},
        "ssh_hostname": ADDRESS,
        "engine_build": "cpu",
        "engine_image_archive": "/srv/vllm.tar",
        "engine_image_id": "sha256:fbda803f75f6902b394a9f7cc4f6c21cb137c7d8d1d5c41bef889facf5bd062a",
        "site_models": {"tiny-qwen3": SMALL},
        "sources": {
            **DEFAULTS["sources"],
            "nvidia_driver": {**DEFAULTS["sources"]["nvidia_driver"], "key_fingerprint": KEY},
        },
    }
    return Data(**{**known, **values})


def answered(status: int = 200, body: str = "", **headers: str) -> Answer:
    usual = {"Server": "nginx", "X-Request-Id": "1", "X-Content-Type-Options": "nosniff"}
    return Answer(status, {**usual, **{name.replace("_", "-"): value for name, value in headers.items()}}, body)


#: What an embedder is asked.
(EMBEDDING,) = proof.questions(Served("a", "embed"))


def met() -> Outside:
    """What calls to a good host come to."""
    usual = Session(
        "TLSv1.3", "TLS_AES_256_GCM_SHA384", "http/1.1", frozenset({NAME, ADDRESS}), time.time() + 40 * 86400
    )
    return Outside(
        probes={one.name: answered(min(one.statuses), '{"code":"invalid_api_key"}') for one in PROBES},
        sessions={
            "name": usual,
            "address": usual,
            "stranger": Refused("SSLError: unrecognized name"),
            "1.1": Refused("SSLError: unsupported protocol"),
            "1.2": replace(usual, version="TLSv1.2", cipher="ECDHE-ECDSA-AES256-GCM-SHA384"),
        },
        open_ports={8000: False},
        monitoring={
            DEFAULTS["monitoring_port"]: answered(400),
            DEFAULTS["monitoring_login_port"]: answered(401),
        },
        in_clear=answered(400),
        port_80=Refused("ConnectionRefusedError"),
        healthz=answered(),
        models=answered(body='{"data":[{"id":"a"}]}'),
        served=(Served("a"),),
        uses=[(Served("a", "embed", 3), EMBEDDING, answered(body='{"data":[{"embedding":[1,2,3]}]}'))],
        completion=answered(body='{"role":"assistant"}'),
        streamed=None,
        prompt="prompt-1",
    )


def captured() -> Look:
    """What the captured host answered, and what it would besides if it were watched."""
    answers = dict(parse_look(CAPTURE).answers)
    for question, lines in WATCHED.items():
        before = answers.get(question, Section("", 0))
        answers[question] = Section(f"{before.output}\n{lines}".strip("\n"), before.status)
    return Look(answers)


@dataclass
class Host:
    """A host under test with everything that was found of it, to be broken in one place."""

    look: Look = field(default_factory=captured)
    outside: Outside = field(default_factory=met)
    values: Mapping[str, Any] = field(default_factory=dict)
    leaks: tuple[str, ...] = ()
    boots: tuple[str, ...] = ()
    reboot: bool = False

    def judge(self, check: str) -> None:
        """Run one check as pytest does, for each of its probes where it has such."""
        module, function = CHECKS[check]
        wanted = inspect.signature(function).parameters
        host = SimpleNamespace(name=NAME, data=data(**self.values), groups=["gpu"], inventory=[], connector_data={})
        if "watched" in wanted:
            host.groups, host.inventory = ["gpu", "monitor"], [host]
        target = Target(host, "lab", Path(), "sk-a", None, self.look, self.outside, self.leaks, self.boots)  # type: ignore[arg-type]
        config = SimpleNamespace(getoption=lambda name: self.reboot)
        known = {
            "target": target,
            "watched": target,
            "look": self.look,
            "outside": self.outside,
            "keyed": self.outside,
            "engines": self.look.engines,
            "request": SimpleNamespace(config=config),
        }
        for probe in _probes(module, check) if "probe" in wanted else (None,):
            function(**{name: value for name, value in {**known, "probe": probe}.items() if name in wanted})


def _probes(module: ModuleType, check: str) -> Any:
    return module._STRANGERS if "stranger" in check else module._CALLERS


def said(question: str, old: str, new: str) -> Callable[[Host], None]:
    """The host answers a question of the look in another way."""

    def breaks(host: Host) -> None:
        before = host.look.answers[question]
        assert old in before.output, f"{old!r} is not in the answer to {question}"
        changed = Section(before.output.replace(old, new), before.status)
        host.look = Look({**host.look.answers, question: changed})

    return breaks


def adds(question: str, line: str) -> Callable[[Host], None]:
    """The host answers one line more."""

    def breaks(host: Host) -> None:
        before = host.look.answers[question]
        host.look = Look({**host.look.answers, question: Section(f"{before.output}\n{line}", before.status)})

    return breaks


def fails(question: str) -> Callable[[Host], None]:
    """A command of the look ends with another status."""

    def breaks(host: Host) -> None:
        host.look = Look({**host.look.answers, question: Section(host.look.text(question), 1)})

    return breaks


def has(**values: Any) -> Callable[[Host], None]:
    """The host is another, or has other values."""

    def breaks(host: Host) -> None:
        for name, value in values.items():
            setattr(host, name, value)

    return breaks


def meets(**found: Any) -> Callable[[Host], None]:
    """Callers meet something else."""

    def breaks(host: Host) -> None:
        for name, value in found.items():
            setattr(host.outside, name, value)

    return breaks


def session(name: str, **changes: Any) -> Callable[[Host], None]:
    """A handshake comes to something else; without changes to a refusal."""

    def breaks(host: Host) -> None:
        before = host.outside.sessions[name]
        usual = before if isinstance(before, Session) else met().sessions["name"]
        assert isinstance(usual, Session)
        host.outside.sessions[name] = replace(usual, **changes) if changes else Refused("SSLError: handshake failure")

    return breaks


def probed(name: str, status: int, body: str = "") -> Callable[[Host], None]:
    """A request that must be refused is answered otherwise."""

    def breaks(host: Host) -> None:
        host.outside.probes[name] = answered(status, body)

    return breaks
