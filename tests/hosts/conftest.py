"""The fleet under test: `pytest tests/hosts [--inventory inventories/prod.py] [--limit gpu-01]`.

Hosts are reached exactly as a deploy reaches them: same inventory, same host keys, same connector, same sudo. All of
them are looked at and called at the same time, up front; the checks then judge what was found.
"""

import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

# pyinfra's command line patches the standard library for gevent and warns that pytest was first; what was
# imported before and keeps the unpatched ssl (anyio) is not used here.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import pyinfra_cli  # noqa: F401

from pyinfra.context import ctx_host, ctx_state

from ingot.errors import IngotError
from ingot.inventory import fleet
from ingot.secrets import verify_key
from tests.hosts.evidence import Recorder
from tests.hosts.look import Look
from tests.hosts.outside import Outside
from tests.hosts.target import Target


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("ingot", "Ingot's hosts")
    group.addoption(
        "--inventory",
        type=Path,
        help="the inventory file given to pyinfra; otherwise inventories/prod.py, or the first that has every --limit",
    )
    group.addoption("--limit", action="append", default=[], help="a host, a pattern or a group; may be repeated")
    group.addoption(
        "--api-key-file",
        type=Path,
        help="a file with an API key of the hosts (or `Authorization: Bearer …`); otherwise INGOT_API_KEY, or the key "
        "that deploys keep for this purpose",
    )
    group.addoption("--evidence", type=Path, help="a directory for verify.xml (JUnit) and verify.json")
    group.addoption("--daemon-reload", action="store_true", help="first have systemd read its configuration again")
    group.addoption("--reboot", action="store_true", help="first reboot the hosts, all at once")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """A wrong command line is one sentence, before anything is collected."""
    if not _meant(config):
        return
    found = targets(config)
    if directory := config.getoption("--evidence"):
        recorder = Recorder(directory, found)
        # JUnit's own writer is used, into a file that is put in place when it is whole.
        config.option.xmlpath = str(recorder.unfinished_junit)
        config.pluginmanager.register(recorder, "ingot-evidence")


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    """`pytest` alone runs Ingot's own tests: these are about hosts that must be named."""
    return None if _meant(config) else True


def _meant(config: pytest.Config) -> bool:
    here = Path(__file__).parent
    return any(here in (path := Path(arg.partition("::")[0]).resolve(), *path.parents) for arg in config.args)


_targets: list[Target] = []


def targets(config: pytest.Config) -> list[Target]:
    """The hosts of the inventory that --limit leaves, loaded once per session."""
    if not _targets:
        try:
            chosen = fleet.selected(config.getoption("--inventory"), config.getoption("--limit"))
            key, kept = _key(config), fleet.secrets_of(chosen.path, chosen.state)
            _targets.extend(Target(host, chosen.path.stem, kept, key or verify_key.read(kept)) for host in chosen.hosts)
        except (IngotError, OSError) as error:
            raise pytest.UsageError(str(error)) from error
    return _targets


def _key(config: pytest.Config) -> str | None:
    path = config.getoption("--api-key-file")
    text = path.read_text(encoding="utf-8") if path else os.environ.get("INGOT_API_KEY", "")
    return text.strip().removeprefix("Authorization: Bearer ") or None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "target" in metafunc.fixturenames:
        found = targets(metafunc.config)
        metafunc.parametrize("target", found, ids=[target.name for target in found], scope="session", indirect=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Hosts that only front others have no driver, no container and no model to check; others may need no GPU."""
    items[:] = [item for item in items if not isinstance(item, pytest.Function) or _applies(item)]


def _applies(item: pytest.Function) -> bool:
    callspec = getattr(item, "callspec", None)
    target = callspec and callspec.params.get("target")
    if not isinstance(target, Target):
        return True
    of_gpus = getattr(item.module, "OF_GPU_HOSTS", False)
    of_serving = of_gpus or getattr(item.module, "OF_SERVING_HOSTS", False)
    return (target.serves or not of_serving) and (target.needs_gpu or not of_gpus)


@pytest.fixture(scope="session")
def gathered(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every host looked at and called, all at the same time."""
    found = targets(request.config)
    state = found[0].host.state
    option = request.config.getoption
    by_host = {target.host: target for target in found}
    fleet.at_once(
        state,
        list(by_host),
        lambda host: by_host[host].gather(daemon_reload=option("--daemon-reload"), reboot=option("--reboot")),
    )
    yield
    for target in found:
        with ctx_state.use(state), ctx_host.use(target.host):
            target.disconnect()


@pytest.fixture(autouse=True)
def _of_what_it_has(request: pytest.FixtureRequest) -> None:
    """Checks of GPUs are not of a host that has none and serves on its processor for that."""
    if getattr(request.module, "OF_GPU_HOSTS", False) and "target" in request.fixturenames:
        one: Target = request.getfixturevalue("target")
        if one.trouble is None and not one.uses_gpu:
            pytest.skip("what it serves needs no GPU")


@pytest.fixture(scope="session")
def target(request: pytest.FixtureRequest, gathered: None) -> Target:
    """One host."""
    found: Target = request.param
    return found


@pytest.fixture
def look(target: Target) -> Look:
    """What was found on the host."""
    target.expect(target.trouble is None, target.trouble or "")
    return target.look


@pytest.fixture
def outside(target: Target) -> Outside:
    """What calls to the host came to."""
    target.expect(target.trouble is None, target.trouble or "")
    # Once for all checks, which would each say it in another way.
    target.expect(target.outside.trouble is None, target.outside.trouble or "")
    return target.outside


@pytest.fixture
def keyed(target: Target, outside: Outside) -> Outside:
    """What calls with a key came to."""
    target.expect(
        target.key,
        "no API key to call it with; deploy (it keeps one for this), or give one in INGOT_API_KEY or --api-key-file",
    )
    return outside
