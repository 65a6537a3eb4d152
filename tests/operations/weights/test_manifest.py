"""Which files of a repository an engine of GGUF files needs: one, or every part of a set."""

from __future__ import annotations

import pytest

from ingot.errors import IngotError
from ingot.operations.weights.manifest import ModelFile, chosen

pytestmark = pytest.mark.engines

SET = tuple(f"q4/m-0000{number}-of-00003.gguf" for number in (1, 2, 3))


def listed(*names: str) -> list[ModelFile]:
    return [ModelFile(name, 10, "0" * 64) for name in names]


def test_one_file_is_taken_and_nothing_else() -> None:
    assert [one.path for one in chosen(listed("a.gguf", "b.gguf", "config.json"), "m (q4)", "b.gguf")] == ["b.gguf"]


def test_every_part_of_a_set_is_taken() -> None:
    assert [one.path for one in chosen(listed(*reversed(SET), "b.gguf"), "m (q4)", SET[0])] == list(SET)


@pytest.mark.parametrize(
    ("there", "named", "sentence"),
    [
        (SET[:2], SET[0], f"has no file {SET[2]}, one of the 3 parts of {SET[0]}, at this commit"),
        (SET, SET[1], "is part 2 of 3: name the first"),
        (SET, "m.gguf", "has no file m.gguf at this commit; correct the variant's `file`"),
        (SET, "m-00001-of-99999.gguf", "says that it is one of 99999 parts"),
    ],
)
def test_a_part_that_is_missing_is_named(there: tuple[str, ...], named: str, sentence: str) -> None:
    with pytest.raises(IngotError) as refused:
        chosen(listed(*there), "m (q4)", named)
    assert sentence in str(refused.value)
