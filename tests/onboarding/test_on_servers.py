"""Onboarding of servers in every state: busy, unfit, half done, hardened, many at once."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from ingot.errors import IngotError
from ingot.onboarding import hardening
from ingot.onboarding.dial import Unreachable
from ingot.onboarding.request import Outcome, Request
from ingot.onboarding.steps import onboard
from ingot.sandbox import TestHost
from tests.onboarding.conftest import Lab, Recorder
from tests.onboarding.servers import GUEST, INSTALLER, PASSWORD, ROOT, Server

pytestmark = [pytest.mark.onboarding, pytest.mark.e2e]

HOLD = (
    'systemd-run --quiet --collect --unit apt-holder python3 -c "import fcntl, time; '
    "f = open('/var/lib/dpkg/lock-frontend', 'w'); fcntl.lockf(f, fcntl.LOCK_EX); time.sleep(600)\""
)


def test_a_dry_run_shows_all_and_changes_nothing(lab: Lab, server: Server) -> None:
    before = server.written()
    outcome = onboard(lab.wish(server, password=PASSWORD, harden=True, dry=True), Recorder())
    assert [change.partition(" ")[0] for change in outcome.changes] == [
        "pins", "creates", "lets", "installs", "hardens", "writes",
    ]  # fmt: skip
    assert outcome.seen
    assert (server.written(), lab.files()) == (before, {})


def test_a_busy_cloud_init_is_waited_for_and_not_for_ever(lab: Lab, boot: Callable[..., Server]) -> None:
    # The stand-in blocks as long as /run/busy exists, as `cloud-init status --wait` does.
    server = boot(
        f"{INSTALLER}; printf '#!/bin/sh\\nwhile [ -e /run/busy ]; do sleep 0.1; done\\n' > /usr/local/bin/cloud-init; "
        "chmod 755 /usr/local/bin/cloud-init; touch /run/busy"
    )
    with pytest.raises(
        IngotError, match=r"^new-01: cloud-init is still busy after [0-9]+ s, expected it done within 1 s"
    ):
        onboard(lab.wish(server, password=PASSWORD, wait=1.0), Recorder())
    assert lab.files() == {}
    server.succeeds("systemd-run --quiet --on-active=2 --timer-property=AccuracySec=100ms rm /run/busy")
    outcome = onboard(lab.wish(server, password=PASSWORD), Recorder())
    assert outcome.remarks == [] and set(lab.files()) == {"new-01.yaml", "known_hosts"}


def test_whoever_holds_the_package_manager_is_waited_for_and_named(lab: Lab, server: Server) -> None:
    server.host.succeeds(HOLD)
    try:
        server.host.wait_until_succeeds("grep -q :$(stat -c %i /var/lib/dpkg/lock-frontend) /proc/locks")
        with pytest.raises(IngotError, match=r"^new-01: python3 \(pid [0-9]+\) still holds the package manager"):
            onboard(lab.wish(server, password=PASSWORD, wait=1.0), Recorder())
        onboard(lab.wish(server, password=PASSWORD), Releasing(server.host))
        server.host.fails("systemctl is-active apt-holder")
    finally:
        server.host.run("systemctl stop apt-holder")


class Releasing(Recorder):
    """An operator who, once told who is in the way, ends it."""

    def __init__(self, host: TestHost) -> None:
        super().__init__()
        self.host = host

    def say(self, name: str, step: str) -> None:
        if "to free the package manager" in step:
            self.host.run("systemctl stop apt-holder")


@pytest.mark.parametrize(
    ("prepare", "user", "sentence"),
    [
        (GUEST, "guest", r"^new-01: guest logs in, but sudo says '.*', expected root's rights; add guest to the group"),
        (
            f"{INSTALLER}; sed 's/VERSION_ID=.*/VERSION_ID=11/; s/PRETTY_NAME=.*/PRETTY_NAME=\"Debian 11\"/' "
            "/usr/lib/os-release > /etc/new; mv /etc/new /etc/os-release",
            "installer",
            r"^new-01: Debian 11 is not supported, expected Ubuntu .* or Debian 12 or 13; reinstall the server",
        ),
        (
            f"{INSTALLER}; mount -t tmpfs none /sys/bus/pci/devices",
            "installer",
            r"^new-01: no NVIDIA GPU on its PCI bus, expected at least one; .* pass --processor for .*, or --no-gpu",
        ),
        (
            f"{INSTALLER}; mount -t tmpfs -o size=64k none /tmp; ! head -c 1M /dev/zero >/tmp/full",
            "installer",
            r"^new-01: /tmp takes no file of 64 KiB \(.*No space left.*\), expected room there .* and empty it",
        ),
        (
            f"{INSTALLER}; echo 'Defaults requiretty' >/etc/sudoers.d/tty; chmod 0440 /etc/sudoers.d/tty",
            "installer",
            r"^new-01: installer logs in, but sudo wants a terminal .* add the line `Defaults:installer !requiretty`",
        ),
    ],
    ids=["no sudo", "wrong OS", "no GPU", "full /tmp", "requiretty"],
)
def test_an_unfit_server_is_refused_before_anything_changes(
    lab: Lab, boot: Callable[..., Server], prepare: str, user: str, sentence: str
) -> None:
    server = boot(prepare)
    before = server.written()
    with pytest.raises(IngotError, match=sentence):
        onboard(lab.wish(server, user=user, password=PASSWORD), Recorder())
    assert (server.written(), lab.files()) == (before, {})


def test_a_login_that_prints_and_a_sudo_that_wants_a_terminal_stop_nothing(
    lab: Lab, boot: Callable[..., Server]
) -> None:
    noise = "printf 'echo Welcome to rack 7\\nprintf unfinished\\n'"
    server = boot(
        f"{ROOT}; {noise} >/etc/skel/.bashrc; {noise} >/root/.bashrc; mount -t tmpfs -o noexec none /tmp; "
        "echo 'Defaults requiretty' >/etc/sudoers.d/tty; chmod 0440 /etc/sudoers.d/tty"
    )
    outcome = onboard(lab.wish(server, user="root", password=PASSWORD), Recorder())
    assert any("prints 'Welcome to rack 7' before every answer" in remark for remark in outcome.remarks)
    assert any("/tmp is mounted noexec" in remark for remark in outcome.remarks)
    assert server.succeeds("cat /etc/sudoers.d/zz-ingot-ingot") == "Defaults:ingot !requiretty\n"
    assert onboard(lab.wish(server), Recorder()).changes == []


def test_a_gateway_without_a_gpu_becomes_a_member_where_it_is_meant_to(lab: Lab, boot: Callable[..., Server]) -> None:
    server = boot(f"{INSTALLER}; mount -t tmpfs none /sys/bus/pci/devices")
    onboard(lab.wish(server, password=PASSWORD, no_gpu=True), Recorder())
    assert "groups: [gateway]\n" in lab.files()["new-01.yaml"]
    # From then on the inventory says it.
    assert onboard(lab.wish(server), Recorder()).changes == []
    # The same server as one that serves without a GPU.
    file = lab.inventory.parent / lab.inventory.stem / "new-01.yaml"
    file.unlink()
    onboard(lab.wish(server, processor=True), Recorder())
    assert "groups" not in lab.files()["new-01.yaml"]
    file.write_text(file.read_text() + "serve:\n  - {model: tiny, context: 1024, concurrency: 1, engine: llama.cpp}\n")
    assert onboard(lab.wish(server), Recorder()).changes == []


class Killed(BaseException):
    """Power loss of the control machine, as far as Python can tell."""


class Mortal(Recorder):
    """An operator whose machine dies at the n-th step."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.left = steps

    def say(self, name: str, step: str) -> None:
        self.left -= 1
        if self.left < 0:
            raise Killed
        super().say(name, step)


def test_a_run_killed_at_any_step_is_finished_by_the_next(lab: Lab, server: Server) -> None:
    wish = lab.wish(server, password=PASSWORD)
    for step in range(10):
        try:
            outcome = onboard(wish, Mortal(step))
        except Killed:
            continue
        break
    assert step >= 4 and outcome.seen
    assert server.succeeds("cat /home/ingot/.ssh/authorized_keys").strip() == lab.public
    assert lab.files()["known_hosts"].count("\n") == 1
    assert onboard(wish, Recorder()).changes == []


def test_what_others_left_half_done_is_repaired(lab: Lab, boot: Callable[..., Server]) -> None:
    """Each half of an account as a crash, or a hand, may leave it."""
    server = boot(INSTALLER)
    wish = lab.wish(server, password=PASSWORD)
    onboard(wish, Recorder())
    server.succeeds(
        "rm -rf /home/ingot; usermod --shell /usr/sbin/nologin ingot; echo broken > /etc/sudoers.d/90-ingot-ingot.new; "
        "echo 'ingot ALL=(ALL) ALL' > /etc/sudoers.d/90-ingot-ingot"
    )
    (lab.directory / "new-01.yaml").write_text(
        f"# Rack 7.\naddress: 192.0.2.1  # moved\nport: {server.port}\nserve: []\n# the end\n"
    )
    assert [change.partition(" ")[0] for change in onboard(wish, Recorder()).changes] == [
        "gives", "makes", "gives", "lets", "installs", "repairs",
    ]  # fmt: skip
    assert lab.files()["new-01.yaml"] == (
        f"# Rack 7.\naddress: {server.address}  # moved\nport: {server.port}\nuser: ingot\ngpus: rtx4090x1\n"
        "serve: []\n# the end\n"
    )
    with pytest.raises(IngotError, match=r"the deploy user daemon could not be made ready: daemon is a system account"):
        onboard(replace(wish, deploy_user="daemon"), Recorder())
    others = "# by hand\nssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHdPvkYCRuqrSlHCjNfLVqMJ0zN2mWJ8BkV8HqYBXkUA other"
    server.succeeds(f"echo '{others}' > /home/ingot/.ssh/authorized_keys; chmod 666 /home/ingot/.ssh/authorized_keys")
    onboard(wish, Recorder())
    assert server.succeeds("cat /home/ingot/.ssh/authorized_keys") == f"{others}\n{lab.public}\n"
    assert onboard(wish, Recorder()).changes == []


def test_a_new_login_that_does_not_work_leaves_the_old_one(lab: Lab, boot: Callable[..., Server]) -> None:
    server = boot(f"{INSTALLER}; echo 'DenyUsers ingot' > /etc/ssh/sshd_config.d/deny.conf")
    with pytest.raises(IngotError, match=r"the new login of ingot .* is refused .*; see `journalctl -u ssh`"):
        onboard(lab.wish(server, password=PASSWORD, harden=True), Recorder())
    assert "00-ingot" not in server.succeeds("ls /etc/ssh/sshd_config.d") and "new-01.yaml" not in lab.files()


# --- hardening: of the test host's own sshd, since it is a systemd unit that is reloaded


@pytest.fixture
def whole(machine: TestHost, lab: Lab) -> Iterator["Whole"]:
    """The test host itself as a server with a password, and its state of before afterwards."""
    # The host's sudo writes command lines to its journal, which no password may be in: a file has this one.
    machine.put("/run/installer", INSTALLER, mode="0600")
    machine.succeeds(f"id installer || sh /run/installer; echo 'PasswordAuthentication yes' > {Whole.OPEN}")
    machine.succeeds("systemctl reload ssh")
    yield Whole(machine, lab)
    machine.succeeds(
        f"rm -f {Whole.OPEN} {Whole.DENY} {hardening.DROP_IN} /etc/sudoers.d/*-ingot-ingot; systemctl reload ssh; "
        "userdel -rf ingot || true; userdel -rf installer"
    )


class Whole:
    """A test host that is onboarded as it is."""

    OPEN = "/etc/ssh/sshd_config.d/10-open.conf"
    DENY = "/etc/ssh/sshd_config.d/20-deny.conf"

    def __init__(self, machine: TestHost, lab: Lab) -> None:
        self.machine = machine
        self.lab = lab

    def onboard(self, **changes: object) -> Outcome:
        return self._reached(self.lab.wish(Server(self.machine, 0), port=22, password=PASSWORD, **changes))

    def takes_passwords(self) -> bool:
        """Whether its running sshd offers passwords."""
        wish = self.lab.wish(Server(self.machine, 0), port=22, password="wrong")
        with pytest.raises(IngotError) as refused:
            self._reached(replace(wish, deploy_user="nobody-yet"))
        assert ("(authentication failed)" in str(refused.value)) != ("(it takes publickey only)" in str(refused.value))
        return "(authentication failed)" in str(refused.value)

    def _reached(self, wish: Request) -> Outcome:
        """Onboard, tried again while sshd, which takes up other settings, has its port shut."""
        deadline = time.monotonic() + 60
        while True:
            try:
                return onboard(wish, Recorder())
            except Unreachable:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)


def test_hardening_ends_passwords_once_the_key_is_proven(whole: Whole) -> None:
    assert whole.takes_passwords()
    changes = whole.onboard(harden=True).changes
    assert any(change.startswith("hardens sshd") for change in changes)
    assert not whole.takes_passwords()
    effective = whole.machine.succeeds("sshd -T")
    assert {"permitrootlogin no", "passwordauthentication no", "maxauthtries 4"} <= set(effective.splitlines())
    # A second run logs in by key, and finds nothing to do.
    assert whole.onboard(harden=True).changes == []
    assert whole.machine.fails("systemctl is-active ingot-sshd-revert.timer").strip() != "active"


def test_hardening_that_locks_the_new_login_out_is_put_back(whole: Whole) -> None:
    whole.onboard()
    # Not read yet: the reload will bring it to life.
    whole.machine.succeeds(f"echo 'DenyUsers ingot' > {Whole.DENY}")
    with pytest.raises(IngotError, match=r"does not survive the hardened sshd, so the old settings are back"):
        whole.onboard(harden=True)
    assert whole.takes_passwords()
    whole.machine.fails(f"ls {hardening.DROP_IN} || ls /etc/ssh/.ingot-before")


def test_hardening_that_sshd_refuses_changes_nothing(whole: Whole) -> None:
    whole.machine.succeeds(f"echo 'NoSuchKeyword yes' > {Whole.DENY}")
    with pytest.raises(IngotError, match=r"sshd could not be hardened: sshd -t refuses it: .*NoSuchKeyword"):
        whole.onboard(harden=True)
    whole.machine.fails(f"ls {hardening.DROP_IN}")


def test_a_hardening_that_nobody_confirms_undoes_itself(whole: Whole, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(connection: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(hardening, "confirm", dies)
        with pytest.raises(Killed):
            whole.onboard(harden=True)
    assert not whole.takes_passwords()
    # What the timer starts two minutes later.
    whole.machine.succeeds("systemctl start ingot-sshd-revert.service")
    whole.machine.wait_until_succeeds("[ ! -e /etc/ssh/.ingot-before ]")
    assert whole.takes_passwords()
    whole.machine.succeeds("systemctl stop ingot-sshd-revert.timer")

    with monkeypatch.context() as patch:
        patch.setattr(hardening, "confirm", dies)
        with pytest.raises(Killed):
            whole.onboard(harden=True)
    assert not whole.takes_passwords()
    # A boot within the two minutes ends the timer.
    whole.machine.reboot()
    assert whole.takes_passwords()
    whole.machine.fails(f"ls {hardening.DROP_IN} || ls /etc/ssh/.ingot-before")
    whole.machine.fails("systemctl is-active ingot-sshd-revert.timer")
    assert whole.onboard(harden=True).changes and not whole.takes_passwords()


# --- many


def test_ten_of_twelve_servers_become_members_while_two_are_broken(
    lab: Lab, ten: list[Server], boot: Callable[..., Server]
) -> None:
    old = boot(f"{INSTALLER}; printf 'ID=debian\\nVERSION_ID=\"11\"\\n' > /etc/new; mv /etc/new /etc/os-release")
    rows = [f"gpu-{one.port - 2210:02},{one.address},{one.port},{one.fingerprint()}" for one in ten]
    table = lab.root / "servers.csv"
    broken = [f"old,{old.address},{old.port},{old.fingerprint()}", f"dead,{old.address},9,"]
    table.write_text("\n".join(["name,address,port,fingerprint", *rows, *broken]) + "\n")
    done = lab.ingot("--from", str(table), "--user", "installer", "--password-stdin", stdin=f"{PASSWORD}\n")
    assert done.returncode == 1
    results = [line.split()[2] for line in done.stdout.splitlines() if f"  {old.address}  " in line]
    assert (results.count("member"), results.count("failed")) == (10, 2)
    assert "ingot: old: debian 11 is not supported" in done.stdout
    assert f"ingot: dead: no SSH at {old.address} port 9" in done.stdout
    assert {name for name in lab.files() if name.endswith(".yaml")} == {f"gpu-{n:02}.yaml" for n in range(1, 11)}
    assert lab.files()["known_hosts"].count("\n") == 10
    assert done.stdout.count("preflight: nothing stands in the way of a deploy") == 10
