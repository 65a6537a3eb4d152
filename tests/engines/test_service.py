"""A service survives being stored, and its digest changes exactly when the container would."""

import json
from dataclasses import replace

import pytest

from ingot.engines import VLLM, Replica, Service, Values


@pytest.fixture
def service(replica: Replica, values: Values) -> Service:
    return VLLM.service(replica, values)


def test_storing_and_reading_gives_the_same_service(service: Service) -> None:
    assert Service.from_dict(json.loads(json.dumps(service.to_dict()))) == service


def test_a_service_of_another_version_of_ingot_is_not_guessed_at(service: Service) -> None:
    stored = service.to_dict()
    del stored["user"]
    with pytest.raises(KeyError):
        Service.from_dict(stored)


@pytest.mark.parametrize(
    "change",
    [
        {"image": "sha256:" + "1" * 64},
        {"argv": ("vllm",)},
        {"devices": ()},
        {"shm_bytes": 1},
        {"address": "172.31.213.11"},
    ],
)
def test_what_the_container_depends_on_changes_the_digest(service: Service, change: dict[str, object]) -> None:
    assert replace(service, **change).digest != service.digest  # type: ignore[arg-type]


def test_how_long_one_waits_does_not_restart_a_service(service: Service) -> None:
    assert replace(service, start_deadline_s=1).digest == service.digest
