"""The second set of public captures: each is read as it is, or named as what it is."""

from __future__ import annotations

from typing import Any

import pytest

from ingot.compat import Card, DriverRequest, Flavour, Machine, Refused, decide
from ingot.facts.errors import ParseError
from ingot.facts.replay import read, text_of
from tests.facts.captures import SECOND

pytestmark = [pytest.mark.driver, pytest.mark.found]


def values(name: str) -> dict[str, Any]:
    return dict(read(text_of((SECOND / f"{name}.txt").read_bytes())).values)


@pytest.mark.parametrize(
    ("name", "kind", "fault", "words"),
    [
        ("dkms__580-fails-on-7.0", "fault", "not-built", "7.0.9-1-cachyos"),
        ("dmesg__api-mismatch-new", "kernel-log", "mismatch", "595.84, but this kernel module has the version 595.80"),
        ("dmesg__api-mismatch-old", "kernel-log", "mismatch", "515.48.07, but this kernel module has the version 510"),
        ("dmesg__reset-required-gb200", "kernel-log", "needs-reset", "NV_ERR_RESET_REQUIRED"),
        ("dmesg__gb10-xid169-proprietary", "kernel-log", "not-initialised", "000f:01:00.0 RmInitAdapter failed"),
        ("journal__fm-mismatch", "kernel-log", "fabric-mismatch", "driver version 550.120"),
        ("err__mismatch-smi-and-nvml", "fault", "mismatch", "nvidia-smi and NVML"),
        ("err__mismatch-with-prompt", "fault", "mismatch", "Driver/library version mismatch"),
        ("err__modprobe-module-not-found-aws", "fault", "not-loaded", "6.8.0-1015-aws"),
        ("err__modprobe-then-smi", "fault", "not-loaded", "Module nvidia not found"),
        ("err__nvml-blocked-by-os", "fault", "no-permission", "no hardware fault"),
    ],
)
def test_a_message_is_a_fault_with_the_driver_s_words(name: str, kind: str, fault: str, words: str) -> None:
    shown = values(name)
    assert (shown["kind"], shown["fault"]) == (kind, fault)
    assert words in shown["found"].replace(": RmInit", " RmInit")
    assert shown["remedy"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("lspci__v100-rev-ff-no-ids", "lspci without -nn"),
        ("query__compute-apps-gb10", "a query of processes"),
        ("table__590-rtx6000d", "prints for people"),
    ],
)
def test_what_cannot_be_read_is_named_with_what_to_record(name: str, says: str) -> None:
    with pytest.raises(ParseError, match=rf"{says}.*record nvidia-smi --query-gpu"):
        values(name)


def test_xids_carry_nvidia_s_action() -> None:
    (silent,) = values("dmesg__xid119-gsp-gpu4")["xids"]
    assert (silent["address"], silent["number"], silent["action"], silent["fatal"]) == (
        "0000:9b:00",
        119,
        "reset",
        True,
    )
    assert "nvidia-smi --gpu-reset -i 0000:9b:00.0" in silent["meaning"]
    halted = values("dmesg__gb10-xid169-proprietary")["xids"][0]
    assert halted["number"] == 169 and "open ones" in halted["meaning"]


def test_xid_154_says_itself_what_has_to_be_done() -> None:
    xids = values("dmesg__nvlink5-149-154-gb200")["xids"]
    assert [(one["address"], one["number"], one["action"]) for one in xids] == [
        ("0009:01:00", 149, "reset linked"),
        ("0009:01:00", 154, "drain and reset"),
        ("0008:01:00", 149, "reset linked"),
        ("0008:01:00", 154, "reset"),
    ]
    assert all(one["fatal"] and one["meaning"] for one in xids)


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("GPU recovery action changed from 0x4 (Drain and Reset) to 0x0 (None)", None),
        ("GPU recovery action changed from 0x0 (None) to 0x2 (Node Reboot Required)", "reboot"),
        ("GPU recovery action changed from 0x0 (None) to 0x3 (Drain P2P)", "drain p2p"),
        ("GPU recovery action changed from 0x0 (None) to 0x9 (Something newer)", None),
    ],
)
def test_each_recovery_action_is_known(text: str, action: str | None) -> None:
    (xid,) = read(f"[1.0] NVRM: Xid (PCI:0000:01:00): 154, {text}\n").values["xids"]
    assert xid["action"] == action
    assert (xid["meaning"] is None) == (action is None)


@pytest.mark.parametrize("number", [46, 54, 109, 110, 136, 143, 144, 145, 146, 147, 148, 150, 151, 155, 156, 158, 169])
def test_every_xid_that_needs_a_person_is_known(number: int) -> None:
    (xid,) = read(f"NVRM: Xid (PCI:0000:01:00): {number}, words\n").values["xids"]
    assert xid["meaning"]


def test_an_nvlink_5_error_that_is_not_fatal_needs_nobody() -> None:
    line = "NVRM: Xid (PCI:0000:01:00): 145, RLW_REMAP {} XC0 i0 Link 01 (0x1 0x2)\n"
    assert read(line.format("Nonfatal")).values["xids"][0]["meaning"] is None
    assert read(line.format("Fatal")).values["xids"][0]["fatal"]


def test_a_fatal_switch_error_is_said_once() -> None:
    (error,) = values("dmesg__sxid-20034-fatal")["switch_errors"]
    assert (error["address"], error["number"], error["fatal"]) == ("0000:a9:00.0", 20034, True)
    assert "reboot the host" in error["meaning"]


def test_numbers_on_the_bus_are_gpus_bridges_and_nothing_else() -> None:
    shown = values("lspci__gb10-bridges")
    assert [(gpu["address"], gpu["id"]) for gpu in shown["gpus"]] == [("000f:01:00.0", "10de:2e12")]
    assert shown["gpus"][0]["needs"] == {"modules": ("open",), "first_driver": "580", "last_branch": None}
    assert shown["nvswitches"] == []
    (a100,) = values("lspci__n-a100-gcp")["gpus"]
    assert (a100["id"], a100["class"]) == ("10de:20b0", "0302")


def test_colours_carriage_returns_and_indentation_change_nothing() -> None:
    shown = values("lspci__grep-colour")
    assert [gpu["id"] for gpu in shown["gpus"]] == ["10de:1f91", "10de:2206"]
    assert shown["gpus"][0]["driver"] == "nvidia"
    assert read("      0004:01:00.0 0302: 10de:20b0 (rev a1)\n").values["gpus"][0]["id"] == "10de:20b0"


def test_the_newest_cards_have_their_first_driver() -> None:
    shown = values("lspci__rtx-pro-blackwell-newest")
    assert [gpu["needs"]["first_driver"] for gpu in shown["gpus"]] == ["580.82.07", "580.95.05", "580.142"]
    for device_id in (0x2BB5, 0x2BB9, 0x2BB2, 0x2C3A, 0x3182, 0x31C2, 0x318F, 0x3230):
        machine = Machine(gpus=(Card(device_id),), os_id="debian", os_version="13", kernel="6.12.57+deb13-amd64")
        with pytest.raises(Refused, match="expected branch 580 or newer"):
            decide(machine, DriverRequest(branch=570))
        assert decide(machine, DriverRequest(branch=580)).flavour is Flavour.OPEN


def test_a_list_is_read_without_its_last_parenthesis_or_said_to_be_torn() -> None:
    (gpu,) = values("L__unclosed-paren")["gpus"]
    assert gpu["uuid"] == "GPU-00000000-1627-f8ff-2ba3-000000000008"
    with pytest.raises(ParseError, match="torn"):
        read("GPU 0: NVIDIA L4 (UUID: GPU-00000000-1627-f8\n")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le"])
def test_what_powershell_wrote_is_read(encoding: str) -> None:
    line = "GPU 0: GeForce GTX 1660 Ti (UUID: GPU-00000000-1627-f8ff-2ba3-000000000008)\r\n"
    (gpu,) = read(text_of(line.encode(encoding))).values["gpus"]
    assert gpu["name"] == "GeForce GTX 1660 Ti"


def test_links_and_peer_access_are_not_taken_for_lists_and_topologies() -> None:
    links = values("nvlink-s__gb200-mock")
    assert (links["kind"], [gpu["active_links"] for gpu in links["gpus"]]) == ("nvlink", [18, 2])
    for name in ("topo__p2p-n-all-ns", "topo__p2p-rw-2x5090"):
        shown = values(name)
        assert (shown["kind"], shown["all_reach_each_other"]) == ("peer-access", False)
        assert "not the topology" in shown["about"]
    topology = values("topo__2x5090-phb-595")
    assert [(gpu["nvlink_peers"], gpu["paths"], gpu["numa_node"]) for gpu in topology["gpus"]] == [
        ([], {"1": "PHB"}, 0),
        ([], {"0": "PHB"}, 0),
    ]


def test_links_that_are_off_or_not_told_are_said() -> None:
    text = "GPU 0: NVIDIA L4 (UUID: GPU-3a)\n\t Link 0: 25 GB/s\n\t Link 1: <inactive>\n"
    (gpu,) = read(text).values["gpus"]
    assert (gpu["links"], gpu["active_links"]) == ({"0": 25.0, "1": None}, 1)
    mig = "GPU 0: NVIDIA H100 (UUID: GPU-3a)\nNvlink queries are not supported for Devices in MIG mode\n"
    assert "MIG mode" in read(mig).values["gpus"][0]["note"]


def test_one_silent_sensor_is_no_lost_gpu() -> None:
    (gpu,) = values("query__2080ti-unknown-sensor")["gpus"]
    assert (gpu["name"], gpu["fault"]) == ("GeForce RTX 2080 Ti", None)


def test_a_log_without_memory_is_a_gpu_without_a_fault() -> None:
    shown = values("xml__rtx-pro-6000-580-without-pci")
    (gpu,) = shown["gpus"]
    assert (gpu["name"], gpu["vram_bytes"], gpu["fault"], "fault" in shown) == (
        "NVIDIA RTX PRO 6000 Blackwell",
        None,
        None,
        False,
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Reading package lists... Done\nE: Unable to locate package nvidia-driver-580\n", "the output of apt"),
        ("    Product Name                          : NVIDIA L4\n    GPU UUID   : GPU-3a\n", "-q without -x"),
        ("  01:00.0 3D controller: NVIDIA Corporation GA100 (rev a1)\n", "lspci without -nn"),
        ("nvidia/580.95.05, 6.8.0-90-generic, x86_64: installed\n", "dkms status"),
        ("Slot:\t01:00.0\nClass:\t3D controller\nVendor:\tNVIDIA Corporation\n", "lspci -vmm"),
        (
            'docker: Error response from daemon: could not select device driver "" with capabilities: [[gpu]].\n',
            "container toolkit is not set up",
        ),
    ],
)
def test_other_outputs_are_named(text: str, says: str) -> None:
    with pytest.raises(ParseError, match=says):
        read(text)


@pytest.mark.parametrize(
    "text",
    [
        "bash: nvidia-smi: Kommando nicht gefunden.\n",
        "bash: nvidia-smi : commande introuvable\n",
        "bash: nvidia-smi: orden no encontrada\n",
        "bash: nvidia-smi: 未找到命令\n",
        "bash: nvidia-smi: команда не найдена\n",
        "bash: nvidia-smi: コマンドが見つかりません\n",
        "'nvidia-smi' is not recognized as an internal or external command,\n",
    ],
)
def test_a_host_without_nvidia_smi_says_so_in_its_language(text: str) -> None:
    assert read(text).values["fault"] == "not-installed"


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        (
            "NVRM: The NVIDIA GPU 0000:01:00.0 (PCI ID: 10de:1180)\nNVRM: installed in this system is not supported by "
            "the\nNVRM: NVIDIA 580.95.05 driver release.\n",
            "unsupported",
        ),
        (
            "NVRM: The NVIDIA GeForce GTX 770 GPU installed in this system is\nNVRM:  supported through the NVIDIA "
            "470.xx Legacy drivers. Please\n",
            "unsupported",
        ),
        (
            "NVRM: The NVIDIA GPU 0000:01:00.0 (PCI ID: 10de:2b85)\nNVRM: installed in this system requires use of the "
            "NVIDIA open kernel modules.\n",
            "wrong-flavour",
        ),
        ("NVRM: GPU 0000:02:00.0 is already bound to nouveau.\n", "held-by-another-driver"),
    ],
)
def test_a_card_that_the_driver_leaves_alone_has_its_reason(lines: str, fault: str) -> None:
    assert read(lines).values["fault"] == fault


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("modprobe: ERROR: could not insert 'nvidia': Key was rejected by service\n", "not-loaded"),
        ("ERROR: Unable to load the kernel module 'nvidia.ko'.\n", "not-loaded"),
        ("nvidia-container-cli: initialization error: nvml error: driver not loaded: unknown.\n", "not-loaded"),
        ('ERROR: An error occurred while performing the step: "Building kernel modules". See the log.\n', "not-built"),
        ("Error! Your kernel headers for kernel 6.8.0-40-generic cannot be found at /lib/modules\n", "not-built"),
        ("ERROR: The Nouveau kernel driver is currently in use by your system.\n", "held-by-another-driver"),
        ("nvidia-smi: error while loading shared libraries: libnvidia-ml.so.1: cannot open shared object\n", "library"),
        (
            "Nov 05 13:55:26 node1 nv-fabricmanager[104230]: request to query NVSwitch device information from "
            "NVSwitch driver failed with error:WARNING Nothing to do [NV_WARN_NOTHING_TO_DO]\n",
            "no-switch",
        ),
    ],
)
def test_what_other_programs_say_of_the_driver_is_known(text: str, fault: str) -> None:
    shown = read(text).values
    assert shown["fault"] == fault
    assert shown["found"] and shown["remedy"]


def test_a_log_whose_head_was_not_copied_is_read() -> None:
    text = (SECOND / "xml__rtx-pro-6000-580-without-pci.txt").read_text(encoding="utf-8")
    element = text[text.index("<gpu id") : text.index("</nvidia_smi_log>")]
    (gpu,) = read(element).values["gpus"]
    assert gpu["uuid"] == "GPU-11111111-2222-3333-4444-555555555555"


def test_rows_without_a_header_are_read_where_they_cannot_be_mistaken() -> None:
    uuid = "GPU-00000000-1627-f8ff-2ba3-000000000008"
    (gpu,) = read(f"0, {uuid}, NVIDIA L4, 00000000:01:00.0, 23034 MiB, 1 MiB, 22564 MiB, 580.95.05\n").values["gpus"]
    assert (gpu["uuid"], gpu["vram_bytes"], gpu["free_bytes"]) == (uuid, 23034 << 20, 22564 << 20)
    (gpu,) = read("NVIDIA GeForce RTX 4090, 24564 MiB, 1 MiB, 24090 MiB\n").values["gpus"]
    assert (gpu["name"], gpu["vram_bytes"], gpu["index"]) == ("NVIDIA GeForce RTX 4090", 24564 << 20, 0)
    asked = "ops@gpu:~$ nvidia-smi --query-gpu=name,memory.total --format=csv,noheader,nounits\nNVIDIA L4, 23034\n"
    (gpu,) = read("$ echo\n" + asked.replace("ops@gpu:~$ ", "")).values["gpus"]
    assert gpu["vram_bytes"] == 23034 << 20
    (gpu,) = read("0, NVIDIA L4, 23034 MiB\n").values["gpus"]
    assert (gpu["name"], gpu["vram_bytes"]) == ("NVIDIA L4", None), "one amount may be what is used"


def test_a_driver_older_than_the_kernel_is_refused_with_the_kernel_s_name() -> None:
    machine = Machine(gpus=(Card(0x2237),), os_id="debian", os_version="13", kernel="7.0.9-1-amd64")
    with pytest.raises(Refused, match=r"does not build, expected a version newer than 580\.119\.02"):
        decide(machine, DriverRequest(version="580.119.02"))
    with pytest.raises(Refused, match="known vulnerabilities"):
        decide(Machine(gpus=(Card(0x2237),), os_id="debian", os_version="13"), DriverRequest(version="580.119.02"))
