"""One host's part of a replica over several hosts, and what must be the same on all of them."""

import json
from dataclasses import replace

import pytest

from ingot.engines import VLLM, Replica, Service, Values
from ingot.engines.group_service import MASTER_PORT, SILENT, Place, digest, part
from ingot.facts import engine as facts
from tests.engines.conftest import plan

HOSTS = (("gpu-01", "10.1.0.7"), ("gpu-02", "10.1.0.8"))
HEAD, MEMBER = Place(HOSTS, "gpu-01", "eth1"), Place(HOSTS, "gpu-02", "ens3")


@pytest.fixture
def service(replica: Replica, values: Values) -> Service:
    one = replace(replica, plan=plan(pipeline_parallel_size=2, hosts=("gpu-01", "gpu-02")))
    return VLLM.service(one, values)


def after(service: Service, flag: str) -> str:
    return service.argv[service.argv.index(flag) + 1]


def test_hosts_are_stages_of_one_pipeline_under_the_heads_address(service: Service) -> None:
    head, member = part(service, HEAD, cpu=False), part(service, MEMBER, cpu=False)
    for rank, one in enumerate((head, member)):
        assert after(one, "--nnodes") == "2"
        assert after(one, "--node-rank") == str(rank)
        assert (after(one, "--master-addr"), after(one, "--master-port")) == ("10.1.0.7", str(MASTER_PORT))
        assert after(one, "--pipeline-parallel-size") == "2"
        assert (after(one, "--host"), one.address, one.group) == ("127.0.0.1", "127.0.0.1", ("gpu-01", "gpu-02"))
    assert "--headless" in member.argv and "--headless" not in head.argv
    assert (head.health_path, member.health_path) == ("/health", SILENT)
    assert dict(member.env)["VLLM_HOST_IP"] == "10.1.0.8"
    assert dict(member.env)["GLOO_SOCKET_IFNAME"] == dict(member.env)["NCCL_SOCKET_IFNAME"] == "ens3"


def test_the_build_for_processors_compiles_without_a_compiler(replica: Replica, values: Values) -> None:
    one = part(VLLM.service(replica, replace(values, build="cpu")), HEAD, cpu=True)
    assert "--enforce-eager" not in one.argv
    assert {"-cc.mode=2", "-cc.backend=eager"} <= set(one.argv)
    assert after(one, "--pipeline-parallel-size") == "2"
    assert dict(one.env)["TORCH_COMPILE_DISABLE"] == "0"


def test_every_host_comes_to_the_same_digest_unless_it_would_serve_something_else(service: Service) -> None:
    member = part(service, MEMBER, cpu=False)
    own = replace(member, devices=("nvidia.com/gpu=GPU-x", "nvidia.com/gpu=GPU-y"))
    assert digest(part(service, HEAD, cpu=False), HEAD) == digest(own, MEMBER)
    for other in (
        replace(own, image="another@sha256:" + "1" * 64),
        replace(own, devices=()),
        replace(own, argv=(*own.argv, "--seed", "1")),
        replace(own, mounts=()),
    ):
        assert digest(other, MEMBER) != digest(own, MEMBER)


def test_a_part_survives_being_stored_and_others_are_written_as_before(service: Service) -> None:
    member = part(service, MEMBER, cpu=False)
    assert Service.from_dict(json.loads(json.dumps(member.to_dict()))) == member
    assert "group" not in service.to_dict()


def test_the_look_at_a_host_knows_who_answers_nobody() -> None:
    assert SILENT == facts.SILENT
