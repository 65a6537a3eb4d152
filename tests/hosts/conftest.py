"""The fleet under test: `pytest tests/hosts --inventory inventories/prod.py [--limit gpu-01]`.

Hosts are reached exactly as a deploy reaches them: same inventory, same host keys, same connector, same sudo.
"""

import os
import warnings
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

# pyinfra's command line patches the standard library for gevent and warns that pytest was first; what was
# imported before and keeps the unpatched ssl (anyio) is not used here.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import pyinfra_cli  # noqa: F401

from testinfra.host import Host

from ingot import fleet
from ingot.errors import IngotError
from tests.hosts.https import Caller
from tests.hosts.look import Look
from tests.hosts.target import Target


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("ingot", "Ingot's hosts")
    group.addoption("--inventory", help="the inventory file given to pyinfra")
    group.addoption("--limit", action="append", default=[], help="a host, a pattern or a group; may be repeated")
    group.addoption(
        "--api-key-file",
        type=Path,
        help="a file with an API key of the hosts (or `Authorization: Bearer …`); otherwise INGOT_API_KEY",
    )


def pytest_configure(config: pytest.Config) -> None:
    """A wrong command line is one sentence, before anything is collected."""
    if _meant(config):
        targets(config)


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    """`pytest` alone runs Ingot's own tests: these are about hosts that must be named."""
    return None if _meant(config) else True


def _meant(config: pytest.Config) -> bool:
    here = Path(__file__).parent
    return any(here in (path := Path(arg.partition("::")[0]).resolve(), *path.parents) for arg in config.args)


_targets: dict[str, list[Target]] = {}


def targets(config: pytest.Config) -> list[Target]:
    """The hosts of the inventory that --limit leaves, loaded once per session."""
    name = config.getoption("--inventory")
    if not name:
        raise pytest.UsageError("say which hosts: --inventory inventories/prod.py")
    if name not in _targets:
        try:
            state = fleet.load(Path(name))
            key = _key(config)
        except (IngotError, OSError) as error:
            raise pytest.UsageError(str(error)) from error
        limits = config.getoption("--limit")
        chosen = [
            host
            for host in state.inventory
            if not limits or any(fnmatch(host.name, limit) or limit in host.groups for limit in limits)
        ]
        if not chosen:
            raise pytest.UsageError(f"no host of {name} matches {' '.join(limits) or 'at all'}")
        _targets[name] = [Target(host, Path(name).stem, key) for host in chosen]
    return _targets[name]


def _key(config: pytest.Config) -> str | None:
    path = config.getoption("--api-key-file")
    text = path.read_text(encoding="utf-8") if path else os.environ.get("INGOT_API_KEY", "")
    return text.strip().removeprefix("Authorization: Bearer ") or None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "target" in metafunc.fixturenames:
        found = targets(metafunc.config)
        metafunc.parametrize("target", found, ids=[target.name for target in found], scope="session")


@pytest.fixture
def host(target: Target) -> Host:
    """testinfra's view of the host, over the deploy's own connection."""
    if isinstance(target.connection, str):
        pytest.fail(target.connection, pytrace=False)
    return Host(target.connection)


@pytest.fixture
def look(target: Target, host: Host) -> Look:
    """What one command found on the host."""
    return target.look


@pytest.fixture
def stranger(target: Target) -> Caller:
    """A caller without a key."""
    _trusted(target)
    return Caller(target.address, target.name, target.ca)


@pytest.fixture
def caller(target: Target) -> Caller:
    """A caller with a key."""
    _trusted(target)
    if not target.key:
        pytest.fail(
            f"{target.name}: no API key to call it with; make one (`ingot keys create TEAM`), deploy, and give it "
            "in INGOT_API_KEY or --api-key-file.",
            pytrace=False,
        )
    return Caller(target.address, target.name, target.ca, target.key)


def _trusted(target: Target) -> None:
    if not target.ca.is_file():
        pytest.fail(f"{target.name}: no CA certificate at {target.ca}; deploy first, it is made then.", pytrace=False)


@pytest.fixture(scope="session", autouse=True)
def _disconnect() -> Iterator[None]:
    yield
    for found in _targets.values():
        for target in found:
            target.disconnect()
