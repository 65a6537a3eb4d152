"""A catalog reads the models that somebody asks for, each once, and refuses what is wrong in a site's own."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ingot.catalog import load_models
from ingot.catalog.load import entries_of
from ingot.catalog.models_by_name import Models
from ingot.sandbox.tiny_models import generator
from ingot.sizing import CatalogError, Model

ROOT = Path(__file__).parents[2]


def entry(**more: object) -> dict[str, object]:
    return {"config": generator.CONFIG, "variants": [{"name": "bf16", "repository": "a/b", "revision": "1", **more}]}


def test_a_model_is_made_when_it_is_asked_for_and_once() -> None:
    made: list[str] = []

    def make(name: str) -> Model:
        made.append(name)
        return Model(name, ())

    under = Models({"a": 1, "b": 2}, make, {})
    over = Models({"b": 3, "c": 4}, lambda name: Model(f"site's {name}", ()), under)
    assert list(over) == ["a", "b", "c"] and len(over) == 3 and "c" in over and "d" not in over
    assert not made
    assert [over[name].name for name in ("a", "a", "b", "c")] == ["a", "a", "site's b", "site's c"]
    assert made == ["a"]
    with pytest.raises(KeyError):
        over["d"]


def test_a_sites_models_are_all_checked_and_equal_values_of_other_types_are_not_alike() -> None:
    assert load_models({"mine": entry(gated=True)})["mine"].variants[0].gated
    with pytest.raises(CatalogError, match="gated"):
        load_models({"mine": entry(gated=1)})


def test_an_entry_read_by_itself_is_what_the_whole_file_says() -> None:
    """No entry leans on another, and none is missed."""
    found = sorted((ROOT / "ingot/catalog/models").glob("*.yaml"))
    assert found
    for path in found:
        text = path.read_text()
        apart = {name: value for one in entries_of(text).values() for name, value in yaml.safe_load(one).items()}
        assert apart == yaml.safe_load(text), path
        assert list(entries_of(text)) == list(apart)
