"""What onboarding decides, without any server: keys that are trusted, ways, rows, refusals."""

from dataclasses import replace
from pathlib import Path

import pytest

from ingot.errors import IngotError
from ingot.facts.driver import Os
from ingot.onboarding import account, host_key, known_hosts
from ingot.onboarding.first_look import FirstLook, refusal
from ingot.onboarding.host_key import Rules, WrongKey, is_trusted
from ingot.onboarding.known_hosts import HostKey, Pin, entry_name, pins, with_pin
from ingot.onboarding.route import Hop, parse_hop, route
from ingot.onboarding.servers import BadRow, Server, parse, read
from ingot.onboarding.ssh_keys import parse_public

pytestmark = pytest.mark.onboarding

# Keys made for this test; `ssh-keygen -l` printed the fingerprint of the first, `ssh-keygen -H` its hashed name.
KEY = HostKey("ssh-ed25519", "AAAAC3NzaC1lZDI1NTE5AAAAIBW518rNtwnKEEpS3+v3gdipn+MgW5LsUkgY4KSh0XL4")
OTHER = HostKey("ssh-ed25519", "AAAAC3NzaC1lZDI1NTE5AAAAICjngXMGqMBzKiiJOpySoJbDl48rUwjif6FeYiL9+4WY")
FINGERPRINT = "SHA256:+mdtRPfq1kR6ctmNDbVwFMsunS+dVk9B0qoZhGXgAd0"
HASHED = "|1|P+/RGk7HH5iEMd6MIe8I2lt1OFI=|6/t9pl/jQtmmvs6pUlCFL8fClbw="
HOP = Hop("10.0.0.17")
FILE = Path("inventories/prod/known_hosts")
PLAIN = f"10.0.0.17 {KEY.kind} {KEY.text}\n"


# --- known_hosts


def test_a_pin_is_found_by_name_and_port() -> None:
    text = f"# ours\n10.0.0.17,gpu-07 {KEY.kind} {KEY.text} a remark\n[10.0.0.17]:2222 {OTHER.kind} {OTHER.text}\n"
    assert pins(text, "gpu-07") == (Pin(2, KEY),)
    assert pins(text, entry_name("10.0.0.17", 2222)) == (Pin(3, OTHER),)
    assert pins(text, "10.0.0.1") == ()
    assert pins(f"@revoked 10.0.0.17 {KEY.kind} {KEY.text}\n10.0.0.17 ssh-ed25519 ***\n", "10.0.0.17") == ()


def test_a_file_of_hashed_names_is_read_and_stays_hashed() -> None:
    hashed = f"{HASHED} {KEY.kind} {KEY.text}\n"
    assert pins(hashed, "10.0.0.17") == (Pin(1, KEY),)
    grown = with_pin(hashed, "10.0.0.18", OTHER)
    assert "10.0.0.18" not in grown and pins(grown, "10.0.0.18") == (Pin(2, OTHER),)


def test_pinning_twice_changes_nothing_and_disturbs_nobody() -> None:
    once = with_pin("# no end of line", "10.0.0.17", KEY)
    assert once == f"# no end of line\n{PLAIN}"
    assert with_pin(once, "10.0.0.17", KEY) == once


def test_a_pin_is_written_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "prod" / "known_hosts"
    assert known_hosts.pin(path, "10.0.0.17", KEY) and not known_hosts.pin(path, "10.0.0.17", KEY)
    assert path.read_text() == PLAIN and path.stat().st_mode & 0o777 == 0o644
    assert [one.name for one in path.parent.iterdir()] == ["known_hosts"]


# --- host keys


def test_only_a_pinned_required_or_accepted_key_needs_no_question() -> None:
    pinned = (Pin(1, KEY),)
    assert is_trusted("gpu-07", HOP, KEY, pinned, Rules(), FILE)
    assert is_trusted("gpu-07", HOP, KEY, (), Rules(KEY.fingerprint), FILE)
    assert is_trusted("gpu-07", HOP, KEY, (), Rules(accept_new=True), FILE)
    assert not is_trusted("gpu-07", HOP, KEY, (), Rules(), FILE)


@pytest.mark.parametrize("rules", [Rules(), Rules(accept_new=True), Rules(OTHER.fingerprint)])
def test_a_changed_key_is_refused_whatever_the_operator_allows(rules: Rules) -> None:
    with pytest.raises(IngotError) as refused:
        is_trusted("gpu-07", HOP, OTHER, (Pin(3, KEY),), rules, FILE)
    sentence = str(refused.value)
    assert f"{OTHER.fingerprint}, but line 3 of {FILE} pins ssh-ed25519 {KEY.fingerprint}" in sentence
    assert f"ssh-keygen -R '10.0.0.17' -f {FILE}" in sentence and "ssh_host_ed25519_key.pub" in sentence


def test_a_required_key_of_another_type_stands_beside_the_pinned_one() -> None:
    ecdsa = HostKey("ecdsa-sha2-nistp256", OTHER.text)
    assert is_trusted("gpu-07", HOP, ecdsa, (Pin(1, KEY),), Rules(ecdsa.fingerprint), FILE)
    with pytest.raises(WrongKey, match="shows the host key ssh-ed25519"):
        is_trusted("gpu-07", HOP, KEY, (Pin(1, KEY),), Rules(OTHER.fingerprint), FILE)


@pytest.mark.parametrize("text", ["", "MD5:aa:bb", "SHA256:short", "SHA256:" + "!" * 43])
def test_what_is_no_fingerprint_is_said(text: str) -> None:
    with pytest.raises(IngotError, match=r"^gpu-07: .* is no fingerprint"):
        host_key.fingerprint(text, "gpu-07")
    assert host_key.fingerprint(f"{FINGERPRINT}=", "gpu-07") == FINGERPRINT == KEY.fingerprint


# --- the way


def test_a_jump_host_is_read_as_ssh_reads_it() -> None:
    assert parse_hop("ops@bastion:2222", "x") == Hop("bastion", 2222, "ops")
    assert parse_hop("ops@[2001:db8::1]:2222", "x") == Hop("2001:db8::1", 2222, "ops")
    assert parse_hop("ops@2001:db8::1", "x") == Hop("2001:db8::1", 22, "ops")
    assert [Hop("b", 22, "o").spelled, Hop("b", 23, "o").spelled, Hop("2001:db8::1", 23, "o").spelled] == [
        "o@b", "o@b:23", "o@[2001:db8::1]:23",
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["", "ops@", "ops@bastion:", "ops@bastion:70000", "bastion", "two words@host"])
def test_what_is_no_jump_host_is_said(text: str) -> None:
    with pytest.raises(IngotError, match=r"^gpu-07: .*jump host"):
        parse_hop(text, "gpu-07")


def test_an_ssh_config_gives_what_the_command_line_leaves_out(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("")
    config = tmp_path / "config"
    config.write_text(
        f"Host gpu-*\n  HostName 10.0.0.17\n  User ubuntu\n  Port 2222\n  ProxyJump bastion\n  IdentityFile {key}\n"
        f"Host bastion\n  HostName 192.0.2.1\n  User ops\n  UserKnownHostsFile {tmp_path}/known\n"
    )
    way = route("gpu-07", "gpu-07", user=None, port=None, jump=None, ssh_config=config)
    assert (way.target.address, way.target.user, way.target.port) == ("10.0.0.17", "ubuntu", 2222)
    assert way.target.identity == key
    # pyinfra looks the way up by this name, so that the inventory must have it.
    assert way.address == "gpu-07"
    assert [(hop.address, hop.user, hop.known_hosts) for hop in way.jumps] == [("192.0.2.1", "ops", tmp_path / "known")]
    assert route("gpu-07", "gpu-07", user="root", port=22, jump=None, ssh_config=config).target.user == "root"


def test_two_ways_a_command_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("Host *\n  ProxyCommand nc %h %p\n")
    for arguments, words in (
        ({"jump": "a@b", "ssh_config": config}, "name two ways"),
        ({"jump": None, "ssh_config": config}, "by ProxyCommand, expected ProxyJump"),
        ({"jump": None, "ssh_config": tmp_path / "none"}, "cannot be read"),
        ({"jump": "ops@10.0.0.17:2222", "ssh_config": None}, "the jump host has the server's own address"),
    ):
        with pytest.raises(IngotError, match=words):
            route("gpu-07", "10.0.0.17", user=None, port=None, **arguments)  # type: ignore[arg-type]


# --- what a server is


def test_what_cannot_be_a_member_is_said_in_one_sentence() -> None:
    good = FirstLook("Linux", "x86_64", Os("ubuntu", "24.04", "Ubuntu 24.04.4 LTS"), True, True, None)
    assert refusal(good) is None
    for changes, words in (
        ({"kernel": "FreeBSD"}, "this is FreeBSD, expected Linux"),
        ({"os": Os("rocky", "9.5", "Rocky Linux 9.5")}, "Rocky Linux 9.5 is not supported"),
        ({"os": Os()}, "a Linux without os-release is not supported"),
        ({"arch": "riscv64"}, "a riscv64 processor"),
        ({"has_apt": False}, "no apt on Ubuntu 24.04.4 LTS"),
        ({"tmp_says": "mktemp: No space left on device"}, "/tmp takes no file of 64 KiB (mktemp: No space left"),
    ):
        said = refusal(replace(good, **changes))  # type: ignore[arg-type]
        assert said and words in said and "\n" not in said


@pytest.mark.parametrize("name", ["root", "", "Ingot", "a b", "-x", "x;reboot", "x" * 40])
def test_a_deploy_user_has_a_plain_name_and_is_not_root(name: str) -> None:
    with pytest.raises(IngotError, match="cannot be the deploy user"):
        account.checked_name(name)


# --- keys


def test_a_file_of_public_keys_is_read_line_by_line() -> None:
    text = f"# team\n{KEY.kind} {KEY.text} anna@desk one\n\n{OTHER.kind} {OTHER.text}\n"
    assert [key.line for key in parse_public(text, FILE)] == [
        f"{KEY.kind} {KEY.text} anna@desk one",
        f"{OTHER.kind} {OTHER.text}",
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("-----BEGIN OPENSSH PRIVATE KEY-----\n", "this is a private key"),
        ("", "no public key in it"),
        (f"ssh-rsa {KEY.text}\n", "is no public key"),
        ("ssh-ed25519 not-base64\n", "is no public key"),
    ],
)
def test_what_is_no_public_key_is_never_installed(text: str, words: str) -> None:
    with pytest.raises(IngotError, match=words):
        parse_public(text, FILE)


# --- servers.csv


def test_rows_say_what_they_say_and_leave_the_rest_open(tmp_path: Path) -> None:
    path = tmp_path / "servers.csv"
    path.write_text("name;address;user;port;jump\n# rack 7\ngpu-01;10.0.0.1;ubuntu;2222;ops@b\ngpu-02;10.0.0.2;;;\n")
    assert read(path) == (
        Server("gpu-01", "10.0.0.1", "ubuntu", 2222, "ops@b"),
        Server("gpu-02", "10.0.0.2"),
    )


def test_a_wrong_row_is_refused_alone() -> None:
    rows = parse(
        "name,address,port\nGPU_1,10.0.0.1,\ngpu-02,,\ngpu-03,10.0.0.3,ssh\n"
        "gpu-04,10.0.0.4,\ngpu-04,10.0.0.5,\ngpu-06,10.0.0.6,22\ngpu-07,10.0.0.6,\ngpu-08,10.0.0.8,22\n",
        Path("servers.csv"),
    )
    bad = {row.name: row.sentence for row in rows if isinstance(row, BadRow)}
    assert [row.name for row in rows if isinstance(row, Server)] == ["gpu-08"]
    for name, words in (
        ("GPU_1", "line 2 of servers.csv names 'GPU_1'"), ("gpu-02", "line 3 of servers.csv has no address"),
        ("gpu-03", "has port 'ssh'"), ("gpu-04", "has a name that another line has too"),
        ("gpu-06", "has the address 10.0.0.6, which another line has too"), ("gpu-07", "has the address 10.0.0.6"),
    ):  # fmt: skip
        assert words in bad[name] and bad[name].startswith(f"{name}: ")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no server in it"),
        ("name,address\n", "a heading and no server"),
        ("name,address,password\n", "passwords belong into no file"),
        ("name,adress\n", "unknown column 'adress' .did you mean 'address'"),
        ("name,user\n", "no column 'address'"),
    ],
)
def test_a_wrong_heading_is_refused_whole(text: str, words: str) -> None:
    with pytest.raises(IngotError, match=rf"^servers\.csv: .*{words}"):
        parse(text, Path("servers.csv"))
