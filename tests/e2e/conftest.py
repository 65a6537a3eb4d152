"""One test host for all of a worker's end-to-end tests: it is deployed once and then lived with."""

from collections.abc import Iterator

import pytest

from ingot.sandbox import Sandbox, TestHost
from ingot.secrets.keys import create


@pytest.fixture(scope="package")
def host() -> Iterator[TestHost]:
    sandbox = Sandbox()
    if any(one.name == "e2e" for one in sandbox.hosts()):
        sandbox.down("e2e")
    yield sandbox.up("e2e", profile="rtx4090x1")
    sandbox.down("e2e")


@pytest.fixture(scope="package")
def key(host: TestHost) -> str:
    return create(Sandbox().secrets_dir, "e2e")
