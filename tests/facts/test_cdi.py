"""Whether containers will get today's GPUs: specifications, their one writer, dockerd's view."""

import json
from dataclasses import replace

import pytest

from ingot.facts.cdi import Cdi, CdiState, DockerCdi, Spec, parse_docker, parse_spec
from ingot.facts.errors import ParseError, Unread
from ingot.facts.nvidia import GpuReport
from ingot.facts.smi_query import QueryRow
from ingot.sizing import GPU

pytestmark = pytest.mark.driver

A, B = "GPU-9a9a6c50-2a47-2f51-a902-b82c3b127e94", "GPU-3a23c669-1f69-c64e-cf85-44e9b07e7a2a"


def report(*uuids: str) -> GpuReport:
    gpus = tuple(GPU(index, uuid, "NVIDIA A10G", 23028 << 20) for index, uuid in enumerate(uuids))
    return GpuReport(gpus, tuple(QueryRow(index=gpu.index, uuid=gpu.uuid) for gpu in gpus))


def spec(*uuids: str, driver: str = "580.159.03") -> Spec:
    return Spec(frozenset(uuids), frozenset({driver}))


CURRENT = CdiState(
    gpus=report(A, B),
    running="580.159.03",
    refreshed=spec(A, B),
    has_refresh_unit=True,
    docker=DockerCdi(("/etc/cdi", "/var/run/cdi"), frozenset({A, B, "all", "0", "1"})),
)


def test_a_specification_of_today_is_current() -> None:
    assert CURRENT.is_current


@pytest.mark.parametrize(
    "state",
    [
        replace(CURRENT, refreshed=None),
        replace(CURRENT, refreshed=spec(A)),
        replace(CURRENT, refreshed=spec(A, B, "GPU-gone")),
        replace(CURRENT, refreshed=spec(A, B, driver="570.86.15")),
        replace(CURRENT, generated=spec(A, B)),
        replace(CURRENT, has_refresh_unit=False),
        replace(CURRENT, gpus=report(A)),
    ],
    ids=["none", "a GPU missing", "a GPU gone", "another driver", "two writers", "the other writer's", "a GPU removed"],
)
def test_a_specification_of_another_day_is_not(state: CdiState) -> None:
    assert not state.is_current


def test_a_gpu_cut_into_instances_may_keep_its_own_entry() -> None:
    instances = tuple(GPU(index, f"MIG-{index}", "H100 MIG", 9984 << 20, mig_profile="1g.10gb") for index in range(2))
    cut = GpuReport(instances, (QueryRow(index=0, uuid=A, mig_enabled=True),))
    assert replace(CURRENT, gpus=cut, refreshed=spec("MIG-0", "MIG-1", A)).is_current
    assert not replace(CURRENT, gpus=cut, refreshed=spec(A)).is_current


def test_a_specification_is_read_from_yaml_or_json_lines() -> None:
    found = parse_spec(f'present\nname: {A}\n"name": "{B}\nlibcuda.so.580.159.03\n')
    assert found == Spec(frozenset({A, B}), frozenset({"580.159.03"}))
    assert parse_spec("") is None


def test_dockerd_lists_devices_from_28_2_on() -> None:
    new = {"CDISpecDirs": ["/etc/cdi"], "DiscoveredDevices": [{"Source": "cdi", "ID": f"nvidia.com/gpu={A}"}]}
    assert parse_docker(json.dumps(new)) == DockerCdi(("/etc/cdi",), frozenset({A}))
    assert parse_docker(json.dumps({"CDISpecDirs": ["/etc/cdi"]})) == DockerCdi(("/etc/cdi",), None)
    assert parse_docker(json.dumps({"CDISpecDirs": [], "DiscoveredDevices": None})) == DockerCdi((), frozenset())
    assert parse_docker("") is None


@pytest.mark.parametrize("text", ["Cannot connect to the Docker daemon", "[]", '{"CDISpecDirs": 1}'])
def test_what_docker_does_not_print_is_one_sentence(text: str) -> None:
    with pytest.raises(ParseError):
        parse_docker(text)


def test_a_look_that_was_cut_off_is_data() -> None:
    assert isinstance(Cdi().process([]), Unread)
