"""What is decided before a server is contacted, and what refuses it there."""

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ingot.commands.cli import cli
from ingot.errors import IngotError
from ingot.onboarding import options as decided
from ingot.onboarding import ssh_keys
from ingot.onboarding.options import Options
from ingot.onboarding.request import Request
from ingot.onboarding.route import Hop, Route
from ingot.onboarding.servers import Server
from ingot.onboarding.ssh_keys import Identity, PublicKey

pytestmark = pytest.mark.onboarding

PASSWORD = "correct horse battery staple"


def options(**changes: Any) -> Options:
    values: dict[str, Any] = {
        "inventory": Path("inventories/prod.py"), "user": None, "port": None, "jump": None, "ssh_config": None,
        "ssh_key": None, "fingerprint": None, "jump_fingerprint": None, "accept_new": False, "deploy_user": None,
        "keys": (), "harden": False, "no_gpu": False, "processor": False, "wait": 600.0, "dry": False,
    }  # fmt: skip
    return Options(**values | changes)


def wish(name: str) -> Request:
    """A request that nobody carries out."""
    key = PublicKey("ssh-ed25519", "AAAA")
    return Request(name, Route(Hop("10.0.0.1"), "10.0.0.1"), Path("inventories/prod.py"), (key,), Identity(None))  # type: ignore[arg-type]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of an operator without an agent and, so far, without keys."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    (tmp_path / ".ssh").mkdir()
    return tmp_path


def make_key(path: Path, passphrase: str = "") -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-C", "op", "-f", str(path)], check=True)
    return path


def test_passwords_show_in_no_representation() -> None:
    asked = options(password=PASSWORD, sudo_password=PASSWORD)
    assert "horse" not in repr(asked) and "horse" not in str(asked)
    made = replace(wish("gpu-01"), password=PASSWORD, sudo_password=PASSWORD)
    assert "horse" not in repr(made)


def test_a_row_comes_before_the_command_line_and_that_before_the_inventory(home: Path) -> None:
    make_key(home / ".ssh" / "id_ed25519")
    known = {"ssh_hostname": "10.0.0.1", "ssh_user": "ubuntu", "ssh_port": 2222, "ssh_known_hosts_file": "/kh"}
    row = Server("new-01", "10.0.0.1", user="root")
    made = decided.request(options(user="admin", port=22), row, known)
    assert (made.first_user, made.way.target.port, made.way.target.known_hosts) == ("root", 22, Path("/kh"))
    made = decided.request(options(), Server("new-01", ""), known)
    assert (made.way.target.address, made.first_user, made.way.target.port) == ("10.0.0.1", "ubuntu", 2222)
    # At another address it is another server.
    made = decided.request(options(), Server("new-01", "10.0.0.2"), known)
    assert (made.first_user, made.way.target.port, made.way.target.known_hosts) == ("root", 22, None)


def test_an_onboarded_host_keeps_its_deploy_user(home: Path, tmp_path: Path) -> None:
    make_key(home / ".ssh" / "id_ed25519")
    inventory = tmp_path / "prod.py"
    known = {"ssh_hostname": "10.0.0.1", "ssh_user": "deployer"}
    assert decided.request(options(inventory=inventory), Server("gpu-01", ""), known).deploy_user == "ingot"
    (tmp_path / "prod").mkdir()
    (tmp_path / "prod" / "gpu-01.yaml").write_text("address: 10.0.0.1\n")
    assert decided.request(options(inventory=inventory), Server("gpu-01", ""), known).deploy_user == "deployer"
    known["ssh_user"] = "root"
    assert decided.request(options(inventory=inventory), Server("gpu-01", ""), known).deploy_user == "ingot"


def test_without_a_key_to_install_or_to_prove_it_with_nothing_begins(home: Path) -> None:
    row = Server("new-01", "10.0.0.1")
    with pytest.raises(IngotError, match=r"^new-01: no public key to install: .*ssh-keygen -t ed25519"):
        decided.request(options(), row, {})
    locked = make_key(home / ".ssh" / "id_ed25519", "a passphrase")
    with pytest.raises(
        IngotError, match=rf"^new-01: none of the 1 public keys .*{locked} has a passphrase; run `ssh-add"
    ):
        decided.request(options(), row, {})
    other = make_key(home / "other")
    with pytest.raises(IngotError, match=r"this is a private key, expected its public half"):
        decided.request(options(keys=(other,)), row, {})
    made = decided.request(options(keys=(Path(f"{other}.pub"),)), row, {})
    assert made.identity.file == other and not made.identity.is_found_by_clients


@pytest.mark.parametrize(
    ("name", "address", "words"),
    [
        ("../gpu", "10.0.0.1", "is no host name"),
        ("GPU-01", "10.0.0.1", "is no host name"),
        ("gpu-01", "ubuntu@10.0.0.1", "the user goes into --user"),
        ("gpu-01", "", "no address, and inventories/prod.py has no such host"),
    ],
)
def test_names_and_addresses_are_what_they_say(name: str, address: str, words: str) -> None:
    with pytest.raises(IngotError, match=words):
        decided.request(options(), Server(name, address), {})


def test_the_key_of_the_first_login_need_not_be_the_operators(home: Path) -> None:
    """A provider's key opens the door; the operator's own key stays."""
    mine = make_key(home / ".ssh" / "id_ed25519")
    cloud = make_key(home / "cloud.pem")
    Path(f"{cloud}.pub").unlink()
    made = decided.request(options(ssh_key=cloud), Server("new-01", "10.0.0.1"), {})
    assert (made.first_key, made.identity.file) == (cloud, mine)
    assert [key.comment for key in made.keys] == ["op"]


def test_the_agents_keys_are_installed_and_prove_the_login(home: Path, agent: Callable[[Path], None]) -> None:
    key = make_key(home / "agents")
    agent(key)
    installed = ssh_keys.operators((), None)
    assert [one.line.split()[:2] for one in installed] == [Path(f"{key}.pub").read_text().split()[:2]]
    identity = ssh_keys.proving(installed, None)
    assert identity.file is None and identity.is_found_by_clients


def test_the_command_line_is_refused_before_any_contact(tmp_path: Path) -> None:
    for arguments, words in (
        ([], "give NAME and ADDRESS, or --from FILE"),
        (["a", "--from", "x.csv"], "give NAME and ADDRESS, or --from FILE"),
        (["--from", "x.csv", "--fingerprint", "SHA256:x"], "write it into its row"),
        (["a", "10.0.0.1", "--port", "0"], "0 is not in the range"),
        (["a", "10.0.0.1", "--password", "x"], "No such option"),
    ):
        done = CliRunner().invoke(cli, ["onboard", *arguments])
        assert done.exit_code == 2 and words in done.output
    for arguments, words in (
        (["a", "10.0.0.1", "--inventory", str(tmp_path / "none.py")], "no such inventory file"),
        (["a", "10.0.0.1", "--password-stdin"], "--password-stdin: standard input has no line for it"),
    ):
        done = CliRunner().invoke(cli, ["onboard", *arguments], input="")
        assert isinstance(done.exception, IngotError) and words in str(done.exception)
