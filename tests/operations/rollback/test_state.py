"""Which states a host keeps, and to which of them it goes back."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from ingot.operations.rollback.state import GoodState, kept, read, target
from ingot.operations.serving.stored import last_good
from tests.operations.serving.test_stored import SERVICE

pytestmark = pytest.mark.rollout

NGINX = "/etc/nginx/nginx.conf"
TINY = last_good(SERVICE).service
ONE = GoodState(
    number=1,
    at="2026-01-01T00:00:00+00:00",
    run="5f0c2a11",
    commit="c" * 40,
    services=(TINY,),
    plan={"schema": 1},
    upstreams=[{"model": "tiny-qwen3", "replicas": [TINY.endpoint]}],
    values={"engine_network": "172.31.213.0/24"},
    files={NGINX: "map_hash_max_size 2048; return 200 '0123456789abcdef$engines_in_use';"},
)
TWO = replace(ONE, number=2, services=(replace(TINY, argv=(*TINY.argv, "--seed", "1")),))
THREE = replace(ONE, number=3, files={NGINX: "another"})


def test_what_is_written_is_read_again() -> None:
    assert read([json.loads(json.dumps(one.to_dict())) for one in (TWO, ONE)]) == (ONE, TWO)


@pytest.mark.parametrize("torn", [None, [], {}, {"schema": 2}, {**ONE.to_dict(), "services": [{}]}])
def test_a_state_that_cannot_be_read_hides_no_other(torn: object) -> None:
    assert read([torn, json.loads(json.dumps(ONE.to_dict()))]) == (ONE,)


def test_keys_and_marks_make_no_other_state() -> None:
    other = replace(
        ONE,
        number=9,
        run="other",
        files={NGINX: "map_hash_max_size 4096; return 200 'fedcba9876543210$engines_in_use';"},
        upstreams=[{"model": "tiny-qwen3", "replicas": [TINY.endpoint], "draining": [TINY.endpoint]}],
    )
    assert other.digest == ONE.digest != TWO.digest and ONE.digest != THREE.digest


def test_a_deploy_that_changes_nothing_keeps_nothing_new() -> None:
    assert kept((ONE, TWO), replace(TWO, number=0, run="later"), keep=3) == (ONE, TWO)


def test_numbers_are_never_used_again_and_the_oldest_goes() -> None:
    assert [one.number for one in kept((ONE, TWO), replace(THREE, number=0), keep=2)] == [2, 3]


def test_what_serves_again_is_the_newest_and_is_there_once() -> None:
    assert [one.number for one in kept((ONE, TWO), replace(ONE, number=0), keep=3)] == [2, 3]


@pytest.mark.parametrize(
    ("now", "number", "expected"),
    [
        (THREE.digest, None, TWO),
        (TWO.digest, None, ONE),
        (ONE.digest, None, None),
        ("what was never proven", None, THREE),
        (THREE.digest, 1, ONE),
        (THREE.digest, 3, THREE),
        (THREE.digest, 7, None),
    ],
)
def test_one_goes_back_to_what_is_older_and_differs(now: str, number: int | None, expected: GoodState | None) -> None:
    assert target((ONE, TWO, THREE), now, number) == expected


def test_it_says_what_it_serves() -> None:
    assert ONE.words() == "tiny-qwen3 at 12e33731cd52, image sha256:ca8e6f30b845"
    assert replace(ONE, services=()).words() == "the gateway alone"
    assert "/srv/models/tiny-qwen3/bf16/12e33731cd52310117cc6dc8dd4f1cc354d5b737" in ONE.sources
