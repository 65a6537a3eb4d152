"""What a caller is told besides a key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ingot.secrets.access import access
from ingot.settings.defaults import defaults

pytestmark = pytest.mark.gateway

SECRETS = Path("/secrets")


def told(**hosts: dict[str, Any]) -> tuple[tuple[str, ...], Path | None]:
    found = access(SECRETS, {name: defaults().model_copy(update=values) for name, values in hosts.items()})
    return found.base_urls, found.ca


def test_each_gateway_is_called_by_its_first_name_or_else_by_the_hosts() -> None:
    assert told(a={}, b={"gateway_names": ("llm.example", "other.example")}, c={"gateway_names": ("llm.example",)}) == (
        ("https://a/v1", "https://llm.example/v1"),
        SECRETS / "ca.crt",
    )


def test_an_address_of_version_6_stands_in_brackets() -> None:
    assert told(a={"gateway_names": ("fd00::7",)})[0] == ("https://[fd00::7]/v1",)


@pytest.mark.parametrize(("others", "ca"), [("acme", None), ("files", None), ("internal", SECRETS / "ca.crt")])
def test_the_internal_ca_is_named_where_any_certificate_is_from_it(others: str, ca: Path | None) -> None:
    assert told(a={"gateway_certificate": "acme"}, b={"gateway_certificate": others})[1] == ca


def test_an_inventory_without_hosts_has_nothing_to_call() -> None:
    assert told() == ((), None)
