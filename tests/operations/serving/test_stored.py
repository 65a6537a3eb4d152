"""The services that were proven last are read whichever version of Ingot wrote them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from ingot.facts.schema import SCHEMA, newer, number, schema_json
from ingot.operations.serving.stored import MIGRATIONS, last_good, stored_services
from ingot.operations.serving.stored import SCHEMA as STORED

pytestmark = pytest.mark.rollout

#: What the first landed version left on a test host.
LEFT = Path(__file__).parents[2] / "e2e" / "captures" / "state-dd98645"
SERVICE = json.loads((LEFT / "var/lib/ingot/engine/last-good/tiny-qwen3-0.json").read_text())


def test_the_first_versions_services_can_be_gone_back_to() -> None:
    (found,) = stored_services({"engine/last-good/tiny-qwen3-0.json": SERVICE}).values()
    assert (found.service.name, found.service.kind, found.service.adapters) == ("tiny-qwen3-0", "generate", ())
    label = re.search(r'ingot.digest: "(\w+)"', (LEFT / "etc/ingot/engine/compose.yaml").read_text())
    assert label and found.runs_as(label[1]), "its container is known by the digest that it carries"


def test_what_is_written_is_read_again() -> None:
    found = last_good(SERVICE)
    assert last_good(json.loads(json.dumps(found.to_dict()))) == found
    assert found.runs_as(found.service.digest) and not found.runs_as("0" * 16)


def test_every_number_has_a_way_to_this_one() -> None:
    assert sorted(MIGRATIONS) == list(range(STORED))


@pytest.mark.parametrize(
    "stored", [{"schema": STORED + 1, "digest": "", "service": SERVICE}, {"name": "torn"}, {"schema": "1"}, [], None]
)
def test_what_cannot_be_read_cannot_be_gone_back_to(stored: object) -> None:
    assert stored_services({"engine/last-good/tiny-qwen3-0.json": stored}) == {}


def test_an_older_ingot_leaves_a_newer_host_alone() -> None:
    assert newer(json.loads(schema_json()), "gpu-01") is newer({}, "gpu-01") is None
    assert newer({"schema": SCHEMA + 1}, "gpu-01") == (
        f"gpu-01: a newer Ingot has changed it (its state has schema {SCHEMA + 1}, this Ingot knows {SCHEMA}), "
        "expected a host of this Ingot's or of an older one; update this checkout to the newest, and run again."
    )
    assert number({"schema": "many"}) == 0
