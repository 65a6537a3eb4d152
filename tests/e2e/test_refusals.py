"""What cannot work is said in one sentence before anything is changed, and the other hosts go on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ingot.sandbox import Sandbox, TestHost
from tests.e2e.deploying import Run, deploy

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

#: Host -> simulated hardware, and what is done to it so that it cannot be deployed.
BROKEN = {
    "wrong-os": ("a10gx4", "sed -i -e 's/^ID=.*/ID=fedora/' -e 's/^VERSION_ID=.*/VERSION_ID=43/' /etc/os-release"),
    "no-sudo": ("a10gx4", "rm /etc/sudoers.d/*"),
    "full-disk": ("a10gx4", "mkdir -p /srv/models && mount -t tmpfs -o size=64k tmpfs /srv/models"),
    "no-gpu": ("none", "true"),
    "too-big": ("a10gx4", "true"),
}
#: Host -> words of its one sentence: what was found, and what to do.
SAYS = {
    "wrong-os": ("fedora", "Debian"),
    "no-sudo": ("sudo", "sudoers"),
    "full-disk": ("/srv/models", "free"),
    "no-gpu": ("no NVIDIA GPU",),
    "too-big": ("llama-3.3-70b-instruct", "GiB"),
    "unreachable": ("no SSH at", "check that the host is up"),
    "wrong-value": ("engine_network is '172.31.213.1/24', expected an IPv4 network", "hosts/wrong-value.yaml"),
    "bad-file": ("unknown key `adress`", "did you mean `address`?"),
}

INVENTORY = """
from ingot.inventory.host_files import load
from ingot.sandbox.inventory import hosts
from pathlib import Path
_wrong = load(Path(__file__).parent / "hosts").group("gpu")
_big = {{"serve": [{{"model": "llama-3.3-70b-instruct", "context": 131072, "concurrency": 64}}], "models_lock": None}}
sandbox = [
    (name, {{**data, **(_big if name.endswith("too-big") else {{}})}})
    for name, data in hosts()
    if name.removeprefix("@ingot/") in {names}
] + _wrong
"""


@pytest.fixture(scope="module")
def broken() -> Iterator[dict[str, TestHost]]:
    sandbox = Sandbox()
    hosts = {}
    for name, (profile, command) in BROKEN.items():
        hosts[name] = sandbox.up(name, profile=profile)
        hosts[name].succeeds(command)
    hosts["full-disk"].shift_clock(-86_400)
    yield hosts
    for name in BROKEN:
        sandbox.down(name)


@pytest.fixture(scope="module")
def run(host: TestHost, key: str, broken: dict[str, TestHost], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One deploy over a served host and every broken one."""
    assert deploy(host.name).status == 0
    directory = tmp_path_factory.mktemp("inventory")
    (directory / "hosts").mkdir()
    nobody = host.address.rpartition(".")[0] + ".250"
    (directory / "hosts" / "unreachable.yaml").write_text(f"address: {nobody}\nserve: []\n")
    wrong = f"address: {host.address}\nport: 2222\nserve: []\nvalues: {{engine_network: 172.31.213.1/24}}\n"
    (directory / "hosts" / "wrong-value.yaml").write_text(wrong)
    (directory / "hosts" / "bad-file.yaml").write_text(f"adress: {nobody}\n")
    inventory = directory / "mixed.py"
    inventory.write_text(INVENTORY.format(names={host.name, *BROKEN}))
    return deploy(inventory=str(inventory))


def test_the_run_fails_and_the_served_host_goes_on(run: Run, host: TestHost) -> None:
    assert run.status != 0
    assert run.reached(host.name)[-1] == "Remember | Keep what serves, to go back to"
    assert run.changed(host.name) == [], "\n".join(run.said_of(host.name))


@pytest.mark.parametrize("name", SAYS)
def test_a_host_that_cannot_work_is_one_sentence(run: Run, name: str) -> None:
    said = [line for line in run.said_of(name) if all(words in line for words in SAYS[name])]
    assert said, "\n".join(run.said_of(name)) or run.output[-3000:]
    assert "Traceback" not in run.output


def test_a_second_thing_that_is_wrong_is_said_too(run: Run) -> None:
    assert any("the clock is 86" in line and "behind" in line for line in run.said_of("full-disk")), run.output[-3000:]


@pytest.mark.parametrize("name", [name for name in BROKEN if name != "no-sudo"])
def test_nothing_was_changed_on_a_refused_host(run: Run, broken: dict[str, TestHost], name: str) -> None:
    assert run.changed(name) == []
    broken[name].fails("ls /etc/ingot /var/lib/ingot /etc/apt/preferences.d/*nvidia*")
    broken[name].fails("command -v docker")
