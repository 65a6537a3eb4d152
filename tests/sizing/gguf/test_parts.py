"""Sets of numbered parts: whole ones are one model, and what is missing is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingot.sizing.gguf.errors import AbsurdCount, MissingPart
from ingot.sizing.gguf.parts import part_names, read_model
from tests.sizing.gguf.writing import gguf, qwen3, tensors

pytestmark = pytest.mark.engines


def write(folder: Path, announced: int = 6) -> Path:
    every = tensors()
    for index, own in enumerate((every[:2], every[2:4], every[4:])):
        keys = {"split.no": index, "split.count": 3, "split.tensors.count": announced}
        path = folder / f"m-{index + 1:05d}-of-00003.gguf"
        path.write_bytes(gguf({**(qwen3() if index == 0 else {}), **keys}, own))
    return folder / "m-00001-of-00003.gguf"


def test_parts_are_one_model(tmp_path: Path) -> None:
    whole = tmp_path / "m.gguf"
    whole.write_bytes(gguf(qwen3(), tensors()))
    assert read_model(write(tmp_path)).tensors[-1].name == read_model(whole).tensors[-1].name
    assert read_model(write(tmp_path)).bytes == read_model(whole).bytes


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    first = write(tmp_path)
    (tmp_path / "m-00002-of-00003.gguf").unlink()
    with pytest.raises(MissingPart, match=r"m-00002-of-00003\.gguf is not beside it"):
        read_model(first)


def test_a_part_of_another_set_is_refused(tmp_path: Path) -> None:
    first = write(tmp_path)
    (tmp_path / "m-00002-of-00003.gguf").write_bytes((tmp_path / "m-00003-of-00003.gguf").read_bytes())
    with pytest.raises(MissingPart, match="says that it is part 2 of 3, expected 1"):
        read_model(first)


def test_a_set_with_fewer_tensors_than_announced_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingPart, match="hold 6 tensors, expected 7"):
        read_model(write(tmp_path, announced=7))


def test_a_lone_first_part_under_another_name_is_refused(tmp_path: Path) -> None:
    renamed = write(tmp_path).rename(tmp_path / "m.gguf")
    with pytest.raises(MissingPart, match=r"m\.gguf is of a set of 3 parts, but 1 are there"):
        read_model(renamed)


def test_the_first_part_must_be_named() -> None:
    assert part_names("m.gguf") == ("m.gguf",)
    with pytest.raises(MissingPart, match=r"is part 2 of 3: name the first, m-00001-of-00003\.gguf"):
        part_names("m-00002-of-00003.gguf")
    with pytest.raises(AbsurdCount):
        part_names("m-00001-of-99999.gguf")
