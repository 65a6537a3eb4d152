"""`ingot probe` on outputs that someone recorded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from ingot.commands.cli import cli
from ingot.errors import IngotError
from tests.facts.captures import DIRECTORY

pytestmark = pytest.mark.driver


def test_one_file_prints_one_reading() -> None:
    done = CliRunner().invoke(cli, ["probe", "--json", "--replay", str(DIRECTORY / "a10g-x4__query-csv.txt")])
    assert done.exit_code == 0
    shown = json.loads(done.stdout)
    assert [gpu["vram_bytes"] for gpu in shown["files"][0]["gpus"]] == [23028 << 20] * 4


def test_several_files_of_one_host_are_put_together(tmp_path: Path) -> None:
    uuid = "GPU-00000000-0000-0000-0000-00000000000"
    rows = "".join(f"{i}, {uuid}{i}, NVIDIA H100 80GB HBM3, 81559 MiB\n" for i in range(8))
    query = tmp_path / "query.csv"
    query.write_text(f"index, uuid, name, memory.total [MiB]\n{rows}")
    topology = DIRECTORY / "topo__hgx-h100-x8-nics.txt"
    done = CliRunner().invoke(cli, ["probe", "--json", "--replay", str(query), "--replay", str(topology)])
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


def test_people_read_the_same_as_programs() -> None:
    words = ["probe", "--replay", str(DIRECTORY / "a10g-x4__query-csv.txt")]
    printed, as_json = (CliRunner().invoke(cli, [*words, *more]).stdout for more in ([], ["--json"]))
    assert yaml.safe_load(printed) == json.loads(as_json)
