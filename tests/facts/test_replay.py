"""Recorded outputs that users attach to bug reports."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from ingot.cli import cli
from ingot.errors import IngotError
from ingot.facts.errors import ParseError
from ingot.facts.replay import read
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
    ["h100-mig__q.txt", "l4__table.txt", "h200__version.txt", "err__dmesg-gsp-initfail.txt", "jetson-orin__table.txt"],
)
def test_an_output_for_people_is_refused_with_what_to_record_instead(name: str) -> None:
    with pytest.raises(ParseError, match="which Ingot does not read: record nvidia-smi --query-gpu"):
        read((DIRECTORY / name).read_text(encoding="utf-8"))


def test_a_prompt_above_the_output_is_no_part_of_it() -> None:
    assert read("ops@gpu-07:~$ nvidia-smi -L\nGPU 0: NVIDIA L4 (UUID: GPU-3a)\n").kind == "list"
    assert read("$ nvidia-smi -L\r\nGPU 0: NVIDIA L4 (UUID: GPU-3a)\r\n").kind == "list"


def test_one_file_prints_one_reading() -> None:
    done = CliRunner().invoke(cli, ["probe", "--replay", str(DIRECTORY / "a10g-x4__query-csv.txt")])
    assert done.exit_code == 0
    shown = json.loads(done.stdout)
    assert [gpu["vram_bytes"] for gpu in shown["gpus"]] == [23028 << 20] * 4


def test_several_files_of_one_host_are_put_together(tmp_path: Path) -> None:
    uuid = "GPU-00000000-0000-0000-0000-00000000000"
    rows = "".join(f"{i}, {uuid}{i}, NVIDIA H100 80GB HBM3, 81559 MiB\n" for i in range(8))
    query = tmp_path / "query.csv"
    query.write_text(f"index, uuid, name, memory.total [MiB]\n{rows}")
    done = CliRunner().invoke(cli, ["probe", "--replay", str(query), str(DIRECTORY / "topo__hgx-h100-x8-nics.txt")])
    shown = json.loads(done.stdout)
    assert len(shown["files"]) == 2
    assert shown["gpus"][0]["nvlink_peers"] == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("content", ["", "hello\n", "\x00\xff"])
def test_anything_else_is_one_sentence_naming_the_file(tmp_path: Path, content: str) -> None:
    file = tmp_path / "attached"
    file.write_text(content)
    with pytest.raises(IngotError) as error:
        CliRunner().invoke(cli, ["probe", "--replay", str(file)], catch_exceptions=False)
    assert str(error.value).startswith(f"{file}: ")
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_is_one_sentence() -> None:
    with pytest.raises(IngotError, match="cannot be read"):
        CliRunner().invoke(cli, ["probe", "--replay", "/no/such/file"], catch_exceptions=False)
