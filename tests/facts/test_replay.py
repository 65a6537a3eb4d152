"""Recorded outputs that users attach to bug reports."""

import json

import pytest

from ingot.facts.errors import ParseError
from ingot.facts.replay import combine, read, text_of
from tests.facts.captures import DIRECTORY, names

pytestmark = pytest.mark.driver

KINDS = {
    "query": [name for name in names("*csv*") if "noheader" not in name],
    "xml": names("*.xml.txt"),
    "topology": names("*topo*"),
    "list": names("*__L.txt"),
    "lspci": names("*lspci*"),
    "fault": [name for name in names("err__*") if "dmesg" not in name],
}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, found in KINDS.items() for name in found])
def test_a_capture_is_recognised_and_read_as_json(kind: str, name: str) -> None:
    reading = read((DIRECTORY / name).read_text(encoding="utf-8"))
    assert reading.kind == kind
    assert json.loads(json.dumps(reading.values))["kind"] == kind


@pytest.mark.parametrize(
    "name",
    [
        "h100-mig__q.txt",
        "l4__table.txt",
        "h200__version.txt",
        "ubuntu-drivers__list-gpgpu.txt",
        "jetson-orin__table.txt",
    ],
)
def test_an_output_for_people_is_refused_with_what_to_record_instead(name: str) -> None:
    with pytest.raises(ParseError, match="which Ingot does not read: record nvidia-smi --query-gpu"):
        read((DIRECTORY / name).read_text(encoding="utf-8"))


def test_a_prompt_above_the_output_is_no_part_of_it() -> None:
    assert read("ops@gpu-07:~$ nvidia-smi -L\nGPU 0: NVIDIA L4 (UUID: GPU-3a)\n").kind == "list"
    assert read("$ nvidia-smi -L\r\nGPU 0: NVIDIA L4 (UUID: GPU-3a)\r\n").kind == "list"


ROW = "index, uuid, name, memory.total [MiB]\n0, GPU-3a, NVIDIA L4, 23034 MiB\n"
LOG = """<?xml version="1.0" ?>
<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v{version}.dtd">
<nvidia_smi_log><driver_version>{driver}</driver_version>
<gpu id="00000000:01:00.0"><product_name>Tesla T4</product_name>
<uuid>GPU-3a</uuid><fb_memory_usage><total>15360 MiB</total></fb_memory_usage>{more}</gpu></nvidia_smi_log>
"""
SPLIT_ECC = """<ecc_errors><volatile><sram_correctable>7</sram_correctable>
<sram_uncorrectable_parity>1</sram_uncorrectable_parity><sram_uncorrectable_secded>0</sram_uncorrectable_secded>
<dram_uncorrectable>2</dram_uncorrectable></volatile></ecc_errors>"""


@pytest.mark.parametrize(
    "text",
    [
        ROW.replace("\n", "\r\n") + "\r\n \r\n",
        ROW.replace("\n", "\r"),
        "\ufeff" + ROW,
        "(base) ops@gpu:~$ nvidia-smi --query-gpu=index --format=csv\n" + ROW + "ops@gpu:~$ \n",
        "```\n" + ROW + "```\n",
        # A recording that ran on (-l 1).
        ROW + ROW,
        ROW.replace("23034 MiB", "23034.00 MiB"),
        # script(1) keeps what the terminal was told.
        "Script started\n\x1b[?2004h\x1b]0;ops@gpu\x07\x1b[32mops@gpu\x1b[0m:~$ nvidia-smi\r\n\x1b[?2004l\r"
        + ROW.replace("\n", "\r\n")
        + "\x1b[?2004hops@gpu:~$ ",
        "C:\\Users\\ops>nvidia-smi --query-gpu=index,uuid,name,memory.total --format=csv\r\n"
        + ROW.replace("\n", "\r\n"),
    ],
)
def test_a_table_is_read_however_it_was_pasted(text: str) -> None:
    (gpu,) = read(text).values["gpus"]
    assert (gpu["index"], gpu["uuid"], gpu["vram_bytes"]) == (0, "GPU-3a", 23034 << 20)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_file_is_read_in_the_encoding_of_its_terminal(encoding: str) -> None:
    assert read(text_of(ROW.encode(encoding))).kind == "query"


@pytest.mark.parametrize(
    ("version", "driver", "more", "uncorrected"),
    [
        (10, "440.64", "<ecc_errors><volatile><double_bit><total>3</total></double_bit></volatile></ecc_errors>", 3),
        (
            11,
            "470.256.02",
            "<ecc_errors><volatile><sram_uncorrectable>N/A</sram_uncorrectable></volatile></ecc_errors>",
            None,
        ),
        (12, "580.95.05", SPLIT_ECC, 3),
        (13, "610.57.04 [Deprecated; will be removed]", SPLIT_ECC, 3),
    ],
)
def test_each_schema_of_the_log_is_read(version: int, driver: str, more: str, uncorrected: int | None) -> None:
    around = "WARNING: infoROM is corrupted at gpu 0000:3B:00.0\n"
    shown = read(around + LOG.format(version=version, driver=driver, more=more) + around).values
    assert shown["driver_version"] == driver.partition(" ")[0]
    assert (shown["gpus"][0]["vram_bytes"], shown["gpus"][0]["ecc_uncorrected"]) == (15360 << 20, uncorrected)


@pytest.mark.parametrize("marker", ["[No data]", "[Timeout]", "[Some marker of a later driver]", "N/A", "Timeout"])
def test_whatever_stands_for_a_missing_figure_is_absent(marker: str) -> None:
    (row,) = read(ROW.replace("23034 MiB", marker)).values["gpus"]
    assert (row["uuid"], row["vram_bytes"], row["fault"]) == ("GPU-3a", None, None)
    log = LOG.format(version=12, driver="580.95.05", more="").replace("15360 MiB", marker)
    (gpu,) = read(log).values["gpus"]
    assert (gpu["uuid"], gpu["vram_bytes"]) == ("GPU-3a", None)


def test_a_matrix_without_its_affinities_is_read_by_its_columns() -> None:
    shown = read("\tGPU0\tGPU1\nGPU0\t X \tNV2\nGPU1\tNV2\t X \n").values
    assert [gpu["paths"] for gpu in shown["gpus"]] == [{"1": "NV2"}, {"0": "NV2"}]


def test_memory_that_is_a_node_of_its_own_does_not_hide_the_processor_s() -> None:
    header = "\t\x1b[4mGPU0\tGPU1\tNIC0\tCPU Affinity\tNUMA Affinity\tGPU NUMA ID\x1b[0m\n"
    rows = "GPU0\t X \tNV18\tSYS\t0-71\t0,2-17\t\t2\nGPU1\tNV18\t X \tNODE\t72-143\t1,10-17\t\t10\n"
    shown = read(header + rows + "NIC0\tSYS\tNODE\t X \t\t\t\t\n").values
    assert [gpu["numa_node"] for gpu in shown["gpus"]] == [0, 1]


def test_a_gpu_that_is_lost_is_the_file_s_fault() -> None:
    lost = "index, uuid, memory.total [MiB]\n0, GPU-3a, 23034 MiB\n1, [GPU is lost], [GPU is lost]\n"
    assert read(lost).values["fault"] == "lost"
    listed = (
        "GPU 0: NVIDIA L4 (UUID: GPU-3a)\nUnable to determine the device handle for gpu 0000:41:00.0: GPU is lost.\n"
    )
    assert (read(listed).kind, read(listed).values["fault"]) == ("list", "lost")
    silent = "GPU 1: Unable to determine the device handle for GPU 0000:41:00.0: Unknown Error\n"
    for text, indices in ((f"GPU 0: NVIDIA L4 (UUID: GPU-3a)\n{silent}", [0]), (silent, [])):
        shown = read(text).values
        assert ([gpu["index"] for gpu in shown["gpus"]], shown["fault"]) == (indices, "unknown-error")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("zsh: command not found: nvidia-smi\n", "not-installed"),
        ("-bash: /usr/bin/nvidia-smi: No such file or directory\n", "not-installed"),
        (
            "Command 'nvidia-smi' not found, but can be installed with:\nsudo apt install nvidia-utils-580\n",
            "not-installed",
        ),
        ("NVIDIA-SMI has failed because it couldn\u2019t communicate with the NVIDIA driver.\n", "not-loaded"),
        ("modprobe: ERROR: could not insert 'nvidia': Key was rejected by service\n", "not-loaded"),
        ("WARNING: infoROM is corrupted at gpu 0000:3B:00.0\n", "inforom"),
        (
            "NVIDIA-SMI has failed because you do not have suffient permissions. Please try running as root.\n",
            "no-permission",
        ),
        (
            "Unable to determine the device handle for GPU 0000:04:00.0: The NVIDIA kernel module detected an issue "
            "with GPU interrupts.\n",
            "interrupt",
        ),
    ],
)
def test_a_message_alone_is_a_fault(text: str, fault: str) -> None:
    assert read(text).values["fault"] == fault


@pytest.mark.parametrize(
    "text",
    [
        "01:00.0 0300: 10de:2684 (rev a1)\n\tSubsystem: 1458:40bf\n\tKernel driver in use: nouveau\n",
        "0000:01:00.0 VGA compatible controller [0300]: NVIDIA Corporation AD102 [GeForce RTX 4090] [10de:2684] "
        "(rev ff) (prog-if ff)\n\tSubsystem: Gigabyte [1458:40bf]\n\tKernel driver in use: nouveau\n",
    ],
)
def test_lspci_is_read_by_numbers(text: str) -> None:
    (gpu,) = read(text).values["gpus"]
    assert (gpu["address"], gpu["id"], gpu["subsystem"], gpu["driver"]) == (
        "0000:01:00.0",
        "10de:2684",
        "1458:40bf",
        "nouveau",
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("01:00.0 VGA compatible controller: NVIDIA Corporation AD102 (rev a1)\n", "lspci without -nn"),
        ("gpu_uuid, pid, process_name\nGPU-3a, 4711, python\n", "a query of processes"),
        ("0, 1, 23034 MiB\n", "a query without its header"),
        ('Field "fabric.state" is not a valid field to query.\n', "a field that the driver lacks"),
    ],
)
def test_what_tells_no_gpus_is_refused_by_its_name(text: str, says: str) -> None:
    with pytest.raises(ParseError, match=says):
        read(text)


def test_a_kernel_log_tells_its_xids() -> None:
    shown = read((DIRECTORY / "dmesg__xid-examples.txt").read_text(encoding="utf-8")).values
    assert [(xid["address"], xid["number"]) for xid in shown["xids"]] == [
        ("0000:9b:00", 119),
        ("0000:05:00", 79),
        ("0000:01:00", 79),
        ("0018:01:00", 149),
        ("0000:03:00", 14),
    ]
    assert "nvidia-smi --gpu-reset -i 0000:9b:00.0" in shown["xids"][0]["meaning"]
    assert "power-cycle" in shown["xids"][1]["meaning"]
    assert shown["xids"][4]["meaning"] is None


def test_an_xid_of_an_instance_is_its_gpu_s() -> None:
    (xid,) = read("NVRM: Xid (PCI:0000:01:00 GPU-I:07): 95, pid=1, name=python, uncontained\n").values["xids"]
    assert (xid["address"], xid["number"]) == ("0000:01:00", 95)


def test_unified_memory_comes_from_the_file_that_tells_it() -> None:
    query = read("index, uuid, name, memory.total [MiB]\n0, GPU-3a, NVIDIA GB10, [N/A]\n")
    memory = read("MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: 900 kB\n")
    (gpu,) = combine([query, memory])
    assert (gpu["unified_memory"], gpu["vram_bytes"], gpu["free_bytes"]) == (True, 1024000, 921600)


def test_queries_of_one_host_complete_each_other() -> None:
    identity = read("index, uuid, name\n0, GPU-3a, NVIDIA L4\n1, GPU-3b, NVIDIA L40S\n")
    memory = read("uuid, memory.total [MiB]\nGPU-3b, 46068 MiB\nGPU-3a, 23034 MiB\n")
    assert [(gpu["name"], gpu["vram_bytes"]) for gpu in combine([identity, memory])] == [
        ("NVIDIA L4", 23034 << 20),
        ("NVIDIA L40S", 46068 << 20),
    ]
