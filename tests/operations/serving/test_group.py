"""Who serves together, and what stands against it: by the inventory, by the hosts' links, and by what must be equal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from pyinfra.api.config import Config
from pyinfra.api.host import Host
from pyinfra.api.inventory import Inventory
from pyinfra.api.state import State

from ingot.engines.group_service import Place
from ingot.facts import sections
from ingot.facts.group import GroupLinks, Interface, Links, parse_links, parse_supervised
from ingot.operations.serving import group
from ingot.settings import of_host
from tests.settings.values import DEFAULTS

ITEM = {"model": "qwen3-32b", "context": 8192, "concurrency": 8, "hosts": ["gpu-01", "gpu-02"]}
HOSTS = (("gpu-01", "10.1.0.7"), ("gpu-02", "10.1.0.8"))


def host(first: Mapping[str, Any] | None = None, second: Mapping[str, Any] | None = None, name: str = "gpu-01") -> Host:
    own = [
        ("gpu-01", {"ssh_hostname": "10.1.0.7", "serve": [ITEM], **(first or {})}),
        ("gpu-02", {"ssh_hostname": "10.1.0.8", "serve": [ITEM], **(second or {})}),
    ]
    inventory = Inventory((own, {**DEFAULTS, "models_lock": None}))
    State(inventory, Config())
    return inventory.get_host(name)


def misfits(one: Host) -> list[str]:
    return list(group.misfits(one, of_host(one)))


def test_two_hosts_with_the_same_item_go_together() -> None:
    one = host()
    wanted = of_host(one).together
    assert wanted is not None
    assert misfits(one) == []
    assert group.hosts_of(one, wanted) == HOSTS
    assert misfits(host({"serve": [{**ITEM, "interface": "eth1"}]}, {"serve": [{**ITEM, "interface": "ens3"}]})) == []


@pytest.mark.parametrize(
    ("second", "words"),
    [
        ({"serve": []}, "gpu-02 is to serve qwen3-32b together with it, and its own `serve` says something else"),
        ({"serve": [{**ITEM, "context": 4096}]}, "its own `serve` says something else"),
        ({"serve": [{**ITEM, "hosts": ["gpu-02", "gpu-01"]}]}, "its own `serve` says something else"),
        ({"ssh_hostname": "gpu-02.example.com"}, "gpu-02 has no IPv4 address for its group"),
        ({"engine_port": "x"}, "gpu-02, which is to serve with it, has wrong values: gpu-02: engine_port"),
    ],
)
def test_what_another_host_says_is_named(second: Mapping[str, Any], words: str) -> None:
    (sentence,) = misfits(host(second=second))
    assert words in sentence


def test_a_host_that_nobody_knows_and_one_that_is_not_meant_are_named() -> None:
    (unknown,) = misfits(host({"serve": [{**ITEM, "hosts": ["gpu-01", "gpu-09"]}]}))
    assert unknown.startswith("no host of the inventory is called gpu-09")
    others = {"serve": [{**ITEM, "hosts": ["gpu-02", "gpu-03"]}]}
    assert misfits(host(others, others))[0].startswith("its `serve` names the hosts gpu-02, gpu-03, expected itself")


def test_a_second_group_on_the_same_gpus_is_one_whose_hosts_say_something_else() -> None:
    another = {**ITEM, "model": "qwen3-8b"}
    assert "gpu-02 is to serve qwen3-8b" in misfits(host({"serve": [another]}))[0]


ETH = Interface("eth1", ("10.1.0.7",), 1500, 25_000_000_000)
WAN = Interface("eth0", ("192.0.2.7",), 1500)


@pytest.mark.parametrize(
    ("named", "links", "words"),
    [
        (None, Links((ETH, WAN)), "`serve` does not say which"),
        ("eth0", Links((ETH, WAN)), "its address 10.1.0.7 is on eth1, expected eth0"),
        ("eth1", Links((WAN,)), "none of its interfaces (eth0) has its address 10.1.0.7"),
        ("eth1", Links((ETH, WAN), {"10.1.0.8": "eth0"}), "the way to gpu-02 (10.1.0.8) is eth0, expected eth1"),
        (None, Links((ETH,), {}, ("10.1.0.8",)), "gpu-02 (10.1.0.8) does not answer over eth1"),
    ],
)
def test_the_way_between_hosts_is_one_interface(named: str | None, links: Links, words: str) -> None:
    wanted = of_host(host({"serve": [{**ITEM, "interface": named}]})).together
    assert wanted is not None
    found = group.interface("gpu-01", HOSTS, wanted, links)
    assert isinstance(found, str)
    assert words in found


def test_one_that_is_named_or_alone_is_taken() -> None:
    for named, links in (("eth1", Links((WAN, ETH), {"10.1.0.8": "eth1"})), (None, Links((ETH,)))):
        wanted = of_host(host({"serve": [{**ITEM, "interface": named}]})).together
        assert wanted is not None
        assert group.interface("gpu-01", HOSTS, wanted, links) == ETH


def test_what_differs_between_hosts_is_said_with_both_values() -> None:
    run = group.Group({"gpu-01": {"MTU": "1500", "image": "a"}, "gpu-02": {"MTU": "9000", "image": "a"}})
    sentence = run.difference("gpu-01")
    assert sentence is not None
    assert sentence.startswith("its MTU is 1500, that of gpu-02, with which it is to serve one replica, 9000")
    run.sketches["gpu-02"] = {"MTU": "1500", "image": "a"}
    assert run.difference("gpu-01") is None


def answer(**said: tuple[str, int]) -> list[str]:
    return sections.joined({name: sections.Section(*one) for name, one in said.items()})


def test_links_are_read_from_what_ip_and_the_kernel_say() -> None:
    listed = [
        {"ifname": "docker0", "mtu": 1500, "addr_info": [{"local": "172.17.0.1"}]},
        {"ifname": "eth1", "mtu": 9000, "addr_info": [{"local": "10.1.0.7"}]},
    ]
    found = parse_links(
        answer(
            addresses=(json.dumps(listed), 0),
            ways=('[{"dst":"10.1.0.8","dev":"eth1","prefsrc":"10.1.0.7"}]\n\n', 0),
            reach=("10.1.0.8", 0),
            speeds=("docker0 -1\neth1 25000", 0),
        )
    )
    assert found == Links(
        (Interface("eth1", ("10.1.0.7",), 9000, 25_000_000_000),), {"10.1.0.8": "eth1"}, ("10.1.0.8",)
    )
    assert "/dev/tcp/$p/29501" in GroupLinks().command(["10.1.0.8"], 29501)


def test_a_host_without_a_supervisor_serves_nothing() -> None:
    nothing = parse_supervised(answer(active=("inactive", 3), settings=("cat: no such file", 1)))
    assert (nothing.active, nothing.settings, nothing.serves("d")) == (False, "", False)
    state = ('{"digest": "d", "answered": true}', 0)
    assert parse_supervised(answer(active=("active", 0), state=state)).serves("d")
    assert not parse_supervised(answer(active=("active", 0), state=state)).serves("another")
    assert not parse_supervised(answer(active=("failed", 3), state=state)).serves("d")


def test_the_unit_of_a_group_ends_with_its_container_and_its_rules() -> None:
    unit = group.unit("qwen3-32b-0")
    assert "ExecStart=/usr/bin/python3 -m ingot.engines.group /etc/ingot/engine/group.json" in unit
    assert "ExecStopPost=-/usr/bin/docker rm --force ingot-engine-qwen3-32b-0" in unit


def test_the_supervisor_can_read_what_it_is_told(tmp_path: Any) -> None:
    from ingot.engines import Service
    from ingot.engines.group.settings import Settings
    from ingot.engines.group_service import digest, part

    plain = Service(
        "m-0", "m", "i", ("vllm", "--host", "0.0.0.0"), (), (), (), "2000:0", (), (), 1, 1, "a", 8000, "/health", 1, 600
    )
    at = Place(HOSTS, "gpu-02", "eth1")
    service = part(plain, at, cpu=False)
    file = tmp_path / "group.json"
    file.write_text(group.settings_text(service, at))
    told = Settings.read(file)
    assert (told.head, told.leads, told.peers) == ("gpu-01", False, {"gpu-01": "10.1.0.7"})
    assert (told.endpoint, told.digest) == ("127.0.0.1:8000", digest(service, at))
