"""What onboarding writes beside an inventory and shows of a server."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from ingot.errors import IngotError
from ingot.facts.disks import Disk
from ingot.facts.driver import Os
from ingot.facts.hardware import Cpu, GpuSeen, HardwareSeen
from ingot.facts.nics import InfinibandPort, Nic
from ingot.facts.pci import PciDevice, PciReading
from ingot.facts.pci_link import PciLink
from ingot.inventory.host_files import load
from ingot.onboarding import host_file, jump_config
from ingot.onboarding.description import are_gpus, gpus_of, rows, summary
from ingot.onboarding.many import onboard_all
from ingot.onboarding.request import Outcome
from ingot.onboarding.route import Hop, Route
from ingot.report.board import Board
from ingot.report.console import plain_console
from ingot.report.onboarding import Lines, show_one
from ingot.report.onboarding import summary as summary_of_all
from ingot.sandbox import membership

pytestmark = pytest.mark.onboarding

WANTED = {"address": "10.0.0.17", "user": "ingot", "port": 22, "gpus": "h100x8", "groups": None}


def gpu(address: str, device: int = 0x2330, link: PciLink | None = None) -> GpuSeen:
    return GpuSeen(PciDevice(address, device, 0x0302), link)


HGX = HardwareSeen(
    os=Os("ubuntu", "24.04", "Ubuntu 24.04.4 LTS"),
    arch="x86_64",
    kernel="6.8.0-79-generic",
    bus=PciReading(),
    gpus=(gpu("0000:1b:00.0", link=PciLink(8, 16, 32.0, 32.0)), *(gpu(f"0000:{n}3:00.0") for n in range(4, 8))),
    cpu=Cpu("INTEL(R) XEON(R) PLATINUM 8480C", 2, 112, 224, 2),
    memory_bytes=2_100_000_000_000,
    memory_modules=(64 << 30,) * 32,
    disks=(
        Disk("sda", 960_197_124_096, "MZ7L3960", contents=("ext4 on /",), mounts=("/",)),
        *(Disk(f"nvme{n}n1", 3_840_755_982_336, "MZQL23T8", transport="nvme") for n in range(2)),
    ),
    nics=(Nic("eno1", "up", 10**10, "igb"), Nic("eno2", "down", None, "igb")),
    infiniband=(InfinibandPort("mlx5_0", 1, 400 * 10**9, "ACTIVE"), InfinibandPort("mlx5_1", 1, 400 * 10**9, "DOWN")),
    secure_boot=True,
)


# --- in words


def test_a_server_fits_into_one_line() -> None:
    assert summary(HGX) == ("5 x H100 SXM5 80GB, 2.0 TiB memory, 1 x 960 GB SSD + 2 x 3.84 TB NVMe, 400 Gb/s")
    assert summary(replace(HGX, gpus=(), disks=(), nics=(), infiniband=())) == "no GPU, 2.0 TiB memory"


def test_the_table_names_what_a_person_should_look_at() -> None:
    shown = [f"{part}: {text}" for part, text in rows(HGX)]
    assert "GPU: 0000:1b:00.0 GH100 [H100 SXM5 80GB] [10de:2330], PCIe x8 of x16: check seat and riser" in shown
    assert "Secure Boot: on: modules must be signed" in shown
    assert "memory: 2.0 TiB (32 x 64 GiB)" in shown
    assert "disk: sda 960 GB SSD MZ7L3960: ext4 on /" in shown and "disk: nvme0n1 3.84 TB NVMe MZQL23T8: empty" in shown
    assert "InfiniBand: mlx5_1 port 1 400 Gb/s, down" in shown and "network: eno2 speed unknown, down, igb" in shown


def test_gpus_are_named_as_host_files_do() -> None:
    assert gpus_of(HGX) == "h100x5"
    assert (
        gpus_of(replace(HGX, gpus=(gpu("0000:01:00.0", 0x2204), gpu("0000:02:00.0", 0x2503)))) == "rtx3090x1+rtx3060x1"
    )
    assert gpus_of(replace(HGX, gpus=())) is None
    assert gpus_of(replace(HGX, gpus=(gpu("0000:01:00.0", 0x0FFF),))) is None


def test_stated_gpus_are_compared_by_what_they_mean() -> None:
    mixed = replace(HGX, gpus=(gpu("0000:01:00.0", 0x2204), gpu("0000:02:00.0", 0x2503)))
    assert are_gpus("rtx3060+rtx3090", mixed) and are_gpus("h100x5", HGX)
    for stated in ("h100x8", "h200x5", "rtx3090+rtx3060", "no such gpu"):
        assert not are_gpus(stated, HGX)


# --- host files


def test_a_new_host_file_is_a_valid_one(tmp_path: Path) -> None:
    path = tmp_path / "prod" / "gpu-07.yaml"
    assert host_file.write(path, "Onboarded: a server", WANTED, dry=True) == f"writes {path}" and not path.exists()
    assert host_file.write(path, "Onboarded: a server", WANTED) == f"writes {path}"
    assert path.read_text().startswith("# Onboarded: a server\naddress: 10.0.0.17\nuser: ingot\ngpus: h100x8\n")
    ((name, groups, data),) = load(path.parent).members
    assert (name, groups, data["ssh_user"], data["gpus"]) == ("gpu-07", ("gpu",), "ingot", "h100x8")
    assert host_file.write(path, "Onboarded: another", WANTED) is None


def test_only_what_is_wrong_is_repaired() -> None:
    text = "# Ours.\nuser: root  # for now\naddress: 10.0.0.9\nserve:\n  - model: a\n    address: no key of ours\n"
    assert host_file.repaired(text, WANTED | {"port": 2222, "ssh_config": "inventories/prod/ssh_config"}) == (
        "# Ours.\nuser: ingot  # for now\naddress: 10.0.0.17\nport: 2222\nssh_config: inventories/prod/ssh_config\n"
        "gpus: h100x8\nserve:\n  - model: a\n    address: no key of ours\n"
    )


def test_what_was_ordered_stays_as_it_was_written() -> None:
    text = "address: 10.0.0.17\nuser: ingot\ngpus: h100x9\ngroups: [gpu, rack7]\n"
    assert host_file.repaired(text, WANTED | {"groups": ["gateway"]}) == text


def test_a_file_that_lines_cannot_repair_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "gpu-07.yaml"
    path.write_text("{address: 10.0.0.9, user: root}\n")
    with pytest.raises(IngotError, match=r"gpu-07\.yaml: .*write every key on a line of its own"):
        host_file.write(path, "", WANTED)
    assert path.read_text() == "{address: 10.0.0.9, user: root}\n"


def test_an_address_belongs_to_one_member(tmp_path: Path) -> None:
    (tmp_path / "group_data").mkdir()
    (tmp_path / "group_data" / "all.py").write_text("")
    inventory = tmp_path / "inventories" / "prod.py"
    assert host_file.known(inventory, "gpu-07", "10.0.0.17", 22) is None
    host_file.write(host_file.path_of(inventory, "gpu-01"), "", WANTED)
    assert host_file.known(inventory, "gpu-07", "10.0.0.17", 2222) is None
    found = host_file.known(inventory, "gpu-01", "10.0.0.99", 22)
    assert found and found["gpus"] == "h100x8"
    with pytest.raises(IngotError, match=r"^gpu-07: 10\.0\.0\.17 port 22 is already gpu-01 of"):
        host_file.known(inventory, "gpu-07", "10.0.0.17", 22)
    (inventory.parent / "prod" / "gpu-07.yaml").write_text("adress: 10.0.0.7\n")
    with pytest.raises(IngotError, match=r"^gpu-07: .*did you mean `address`"):
        host_file.known(inventory, "gpu-07", "10.0.0.7", 22)


def test_paths_in_host_files_hold_for_the_whole_team(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "checkout" / "group_data").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    inventory = tmp_path / "checkout" / "inventories" / "prod.py"
    for path, shown in (
        (tmp_path / "checkout/inventories/prod/ssh_config", "inventories/prod/ssh_config"),
        (tmp_path / "home/.ssh/gpu", "~/.ssh/gpu"),
        (Path("~/.ssh/gpu"), "~/.ssh/gpu"),
        (Path("/srv/key"), "/srv/key"),
    ):
        assert str(host_file.portable(path, inventory)) == shown


def test_a_relative_path_of_a_host_file_begins_at_the_checkout(tmp_path: Path) -> None:
    directory = tmp_path / "inventories" / "prod"
    directory.mkdir(parents=True)
    (tmp_path / "group_data").mkdir()
    (directory / "gpu-01.yaml").write_text("address: 10.0.0.1\nssh_config: inventories/prod/ssh_config\nssh_key: ~/k\n")
    ((_, _, data),) = load(directory).members
    assert data["ssh_config_file"] == str(directory / "ssh_config")
    assert data["ssh_key"] == str(Path.home() / "k")


# --- ssh_config


def test_ways_through_jump_hosts_are_kept_apart(tmp_path: Path) -> None:
    path = tmp_path / "ssh_config"
    known_hosts = Path("inventories/prod/known_hosts")
    bastion = Hop("192.0.2.1", 2222, "ops")
    for number in (1, 2, 1):
        way = Route(Hop(f"10.0.0.{number}"), f"10.0.0.{number}", (bastion,))
        jump_config.write(path, jump_config.blocks(way, known_hosts, None))
    assert jump_config.write(path, jump_config.blocks(way, known_hosts, None)) is None
    pinned = f"    StrictHostKeyChecking yes\n    UserKnownHostsFile {known_hosts}\n"
    assert path.read_text() == (
        f"{jump_config.HEAD}\nHost 192.0.2.1\n{pinned}\nHost 10.0.0.1\n    ProxyJump ops@192.0.2.1:2222\n{pinned}"
        f"\nHost 10.0.0.2\n    ProxyJump ops@192.0.2.1:2222\n{pinned}"
    )


def test_a_way_that_changed_replaces_the_old_one_alone() -> None:
    text = "Host 10.0.0.1\n    ProxyJump a@b\n\n# by hand\nHost other\n    User x\n"
    assert jump_config.with_block(text, "10.0.0.1", ["ProxyJump c@d"]) == (
        "Host 10.0.0.1\n    ProxyJump c@d\n\nHost other\n    User x\n"
    )


# --- members of the sandbox


def test_a_test_hosts_file_goes_with_it(tmp_path: Path) -> None:
    (tmp_path / "group_data").mkdir()
    (tmp_path / "group_data" / "all.py").write_text("")
    directory = tmp_path / "inventories" / "sandbox"
    host_file.write(directory / "gpu-01.yaml", "", WANTED)
    pin, other = "10.0.0.17 ssh-ed25519 AAAA", "10.0.0.18 ssh-ed25519 BBBB"
    (directory / "known_hosts").write_text(f"{pin}\n{other}\n")
    assert membership.data_of("gpu-01", pin, directory)["ssh_user"] == "ingot"
    # A host of that name that was made anew is a stranger.
    assert membership.data_of("gpu-01", "10.0.0.17 ssh-ed25519 CCCC", directory) == {}
    membership.forget("gpu-01", "10.0.0.17 ssh-ed25519 CCCC", directory)
    assert (directory / "gpu-01.yaml").exists()
    membership.forget("gpu-01", pin, directory)
    assert not (directory / "gpu-01.yaml").exists()
    assert (directory / "known_hosts").read_text() == f"{other}\n"
    membership.forget("gpu-01", pin, tmp_path / "none")


# --- shown


def console(*, terminal: bool) -> tuple[Console, io.StringIO]:
    text = io.StringIO()
    return plain_console(file=text, force_terminal=terminal, width=120, color_system=None), text


def test_one_server_that_fails_or_surprises_stops_no_other() -> None:
    from tests.onboarding.test_requests import wish

    def step(request: object, talk: object) -> Outcome:
        name = request.name  # type: ignore[attr-defined]
        if name == "gpu-02":
            raise IngotError("gpu-02: no SSH at 10.0.0.2 port 22; check it.")
        if name == "gpu-03":
            raise RuntimeError("a secret of the machine")
        return Outcome(name, "10.0.0.1", changes=["writes a file"], seen=HGX)

    shown, text = console(terminal=False)
    names = ["gpu-01", "gpu-02", "gpu-03", "gpu-04"]
    outcomes = onboard_all([wish(name) for name in names], Lines(shown, asks=False), 2, step)
    assert [outcome.name for outcome in outcomes] == names
    assert [bool(outcome.error) for outcome in outcomes] == [False, True, True, False]
    assert outcomes[2].error == "gpu-03: RuntimeError while onboarding it; run it again, and report this."
    shown.print(summary_of_all(outcomes, {"gpu-04"}))
    lines = text.getvalue()
    assert "gpu-01: done" in lines and "gpu-02: failed" in lines
    assert "gpu-04  10.0.0.1  preflight refuses" in lines and "gpu-02" in lines


def test_a_terminal_shows_all_servers_and_asks_nothing() -> None:
    shown, text = console(terminal=True)
    with Board(shown, ["gpu-01", "gpu-02"]) as board:
        board.say("gpu-01", "waits for cloud-init [5 s]")
        board.say("gpu-02", "done", "done")
    assert "waits for its turn" in text.getvalue() and "waits for cloud-init [5 s]" in text.getvalue()
    assert board.confirm("?") is None and board.secret("?") is None


def test_what_a_dry_run_would_do_is_told_from_what_was_done() -> None:
    shown, text = console(terminal=False)
    show_one(shown, Outcome("gpu-01", changes=["hardens sshd"], remarks=["cloud-init ended with errors"]), dry=True)
    show_one(shown, Outcome("gpu-02"), dry=False)
    assert text.getvalue() == (
        "gpu-01: would change: hardens sshd\ngpu-01: note: cloud-init ended with errors.\ngpu-02: nothing to change\n"
    )


def test_what_is_written_is_yaml_as_people_write_it() -> None:
    text = host_file.render("about", WANTED | {"groups": ["gateway"], "gpus": None, "port": 2222})
    assert "groups: [gateway]\n" in text and "port: 2222\n" in text and "# gpus:" in text
    assert yaml.safe_load(text) == {"address": "10.0.0.17", "user": "ingot", "port": 2222, "groups": ["gateway"]}
