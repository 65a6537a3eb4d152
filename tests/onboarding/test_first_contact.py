"""First contact with servers as they come: by password, key or jump host, and never with the wrong one."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ingot.errors import IngotError
from ingot.onboarding.steps import onboard
from tests.onboarding.conftest import Lab, Recorder
from tests.onboarding.servers import INSTALLER, PASSWORD, ROOT, Server, start, stop

pytestmark = [pytest.mark.onboarding, pytest.mark.e2e]


def test_a_password_makes_a_member_and_is_never_seen_again(lab: Lab, server: Server) -> None:
    arguments = ("new-01", server.address, "--port", str(server.port), "--user", "installer")
    first = lab.ingot(*arguments, "--password-stdin", "--fingerprint", server.fingerprint(), stdin=f"{PASSWORD}\n")
    assert first.returncode == 0, first.stdout
    assert "GeForce RTX 4090" in first.stdout
    assert "preflight: nothing stands in the way of a deploy" in first.stdout
    assert set(lab.files()) == {"new-01.yaml", "known_hosts"}
    assert (
        f"address: {server.address}\nuser: ingot\nport: {server.port}\ngpus: rtx4090x1\n" in lab.files()["new-01.yaml"]
    )
    assert server.succeeds("cat /home/ingot/.ssh/authorized_keys").strip() == lab.public
    for text in (first.stdout, server.log(), *lab.files().values()):
        assert "battery" not in text

    before = (lab.files(), server.written())
    second = lab.ingot(*arguments)
    assert second.returncode == 0, second.stdout
    assert "new-01: nothing to change" in second.stdout
    assert (lab.files(), server.written()) == before


UBUNTU = (
    "useradd --create-home --shell /bin/bash ubuntu; echo 'ubuntu ALL=(ALL) NOPASSWD:ALL' > /etc/sudoers.d/u; "
    "mkdir /home/ubuntu/.ssh; echo 'KEY' > /home/ubuntu/.ssh/authorized_keys; chown -R ubuntu: /home/ubuntu; "
    "echo PasswordAuthentication no > /etc/ssh/sshd_config.d/keys.conf"
)


def test_a_key_is_enough_where_passwords_are_off(lab: Lab, boot: Callable[..., Server]) -> None:
    server = boot(UBUNTU.replace("KEY", lab.public))
    outcome = onboard(lab.wish(server, user="ubuntu"), Recorder())
    assert outcome.seen and len(outcome.seen.gpus) == 1
    assert server.succeeds("sudo -u ingot sudo -n id -u").strip() == "0"


def test_an_agent_is_enough(lab: Lab, boot: Callable[..., Server], agent: Callable[[Path], None]) -> None:
    server = boot(UBUNTU.replace("KEY", lab.public))
    agent(lab.key)
    onboard(lab.wish(server, user="ubuntu"), Recorder())
    assert "ssh_key" not in lab.files()["new-01.yaml"]
    assert onboard(lab.wish(server), Recorder()).changes == []


def test_on_a_terminal_key_and_passwords_are_asked_for(lab: Lab, server: Server) -> None:
    operator = Recorder(yes=True, password=PASSWORD)
    onboard(lab.wish(server, accept_new=False), operator)
    assert [text.partition("\n")[0] for text in operator.asked] == [
        f"new-01: {server.address} port {server.port} shows the host key",
        f"password of installer on new-01 ({server.address})",
    ]
    assert server.fingerprint() in operator.asked[0]


def test_root_with_a_password_is_a_first_login_too(lab: Lab, boot: Callable[..., Server]) -> None:
    server = boot(ROOT)
    onboard(lab.wish(server, user=None, password=PASSWORD), Recorder())
    assert server.succeeds("id -un ingot").strip() == "ingot"


def test_a_server_behind_a_jump_host_is_reached_by_every_later_run(lab: Lab, boot: Callable[..., Server]) -> None:
    jump = boot(
        "useradd --create-home --shell /bin/bash bastion; mkdir /home/bastion/.ssh; "
        f"echo '{lab.public}' > /home/bastion/.ssh/authorized_keys; chown -R bastion: /home/bastion"
    )
    server = boot()
    # From here nothing listens at this address: only the jump host reaches it.
    done = lab.ingot(
        "new-01", "127.0.0.1", "--port", str(server.port), "--user", "installer", "--password-stdin",
        "--fingerprint", server.fingerprint(), "--jump", f"bastion@{jump.address}:{jump.port}",
        "--jump-fingerprint", jump.fingerprint(), stdin=f"{PASSWORD}\n",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    # The preflight went through pyinfra, which knows the way from the inventory alone.
    assert "preflight: nothing stands in the way of a deploy" in done.stdout
    assert f"ProxyJump bastion@{jump.address}:{jump.port}" in lab.files()["ssh_config"]
    assert f"[{jump.address}]:{jump.port} ssh-ed25519" in lab.files()["known_hosts"]
    again = lab.ingot("new-01", "127.0.0.1", "--port", str(server.port))
    assert again.returncode == 0 and "nothing to change" in again.stdout, again.stdout


def test_a_changed_host_key_ends_it_before_anything_is_sent(lab: Lab, boot: Callable[..., Server]) -> None:
    old = boot()
    onboard(lab.wish(old, password=PASSWORD), Recorder())
    pinned, files = old.fingerprint(), lab.files()
    stop([old])
    start([old], INSTALLER)
    assert old.fingerprint() != pinned
    with pytest.raises(IngotError) as refused:
        onboard(lab.wish(old, password=PASSWORD), Recorder(yes=True))
    sentence = str(refused.value)
    assert pinned in sentence and old.fingerprint() in sentence
    assert f"ssh-keygen -R '[{old.address}]:{old.port}'" in sentence
    assert not old.heard_of("installer") and not old.heard_of("ingot")
    assert lab.files() == files


def test_an_unknown_host_key_is_believed_by_nobody_but_the_operator(lab: Lab, server: Server) -> None:
    for wish, words in (
        (lab.wish(server, accept_new=False, password=PASSWORD), "nobody can confirm it here"),
        (lab.wish(server, fingerprint="SHA256:" + "A" * 43, password=PASSWORD), "expected SHA256:AAAA"),
    ):
        with pytest.raises(IngotError, match=words) as refused:
            onboard(wish, Recorder())
        assert server.fingerprint() in str(refused.value)
    with pytest.raises(IngotError, match="was not confirmed; nothing was sent"):
        onboard(lab.wish(server, accept_new=False, password=PASSWORD), Recorder(yes=False))
    assert lab.files() == {} and not server.heard_of("installer")
    with pytest.raises(IngotError, match="refuses user installer with a password"):
        onboard(lab.wish(server, password="wrong"), Recorder())
    assert server.heard_of("installer")


def test_a_fingerprint_may_be_that_of_another_host_key(lab: Lab, server: Server) -> None:
    onboard(lab.wish(server, accept_new=False, fingerprint=server.fingerprint("ecdsa"), password=PASSWORD), Recorder())
    assert "ecdsa-sha2-nistp256" in lab.files()["known_hosts"]


def test_what_does_not_answer_is_named(lab: Lab, server: Server) -> None:
    with pytest.raises(IngotError, match=rf"^new-01: no SSH at {server.address} port 9 \(connection refused\); check"):
        onboard(lab.wish(server, port=9), Recorder())
    with pytest.raises(
        IngotError, match=r"refuses user installer with a key .* pass --ssh-key FILE or --password-stdin"
    ):
        onboard(lab.wish(server), Recorder())
