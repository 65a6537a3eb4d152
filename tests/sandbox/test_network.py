"""The network's description: whose it is, where hosts are, who answers their questions."""

from ingot.sandbox.network import Network, from_alias, is_taken, nameservers, rules

NETWORK = Network(index=1, owner="/var/lib/ingot-sandbox", forward_before="0", inotify_before="128")


def test_each_sandbox_has_a_bridge_and_a_subnet_of_its_own() -> None:
    first = Network(index=0, owner="/a", forward_before="0", inotify_before="128")
    assert (first.bridge, str(first.subnet), first.gateway) == ("ingot0", "10.213.77.0/24", "10.213.77.1")
    assert (NETWORK.bridge, str(NETWORK.subnet), NETWORK.address(10)) == ("ingot1", "10.213.78.0/24", "10.213.78.10")


def test_a_bridge_tells_its_network_back() -> None:
    assert from_alias(1, NETWORK.alias) == NETWORK


def test_a_bridge_that_says_something_else_is_not_ours() -> None:
    assert from_alias(1, "") is None
    assert from_alias(1, "uplink") is None
    assert from_alias(1, '{"sandbox": "/a"}') is None


def test_rules_replace_what_was_there_and_masquerade_only_what_leaves_the_subnet() -> None:
    assert (
        rules(NETWORK)
        == """table ip ingot1
delete table ip ingot1
table ip ingot1 {
  chain postrouting {
    type nat hook postrouting priority srcnat
    ip saddr 10.213.78.0/24 ip daddr != 10.213.78.0/24 masquerade
  }
}
"""
    )


def test_guests_ask_the_first_resolvers_they_can_reach() -> None:
    stub = "nameserver 127.0.0.53\noptions edns0\n"
    uplink = "# from DHCP\nnameserver 192.0.2.53\nnameserver fe80::1\nnameserver\nsearch example\n"
    assert nameservers(stub, uplink) == ["192.0.2.53"]
    assert nameservers(uplink, stub) == ["192.0.2.53"]
    assert nameservers(stub) == []


ROUTES = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
tun0\t0000000A\t010200C0\t0003\t0\t0\t0\t000000FF\t0\t0\t0
"""


def route(interface: str, destination: str, gateway: str, mask: str) -> str:
    return f"{ROUTES}{interface}\t{destination}\t{gateway}\t0001\t0\t0\t0\t{mask}\t0\t0\t0\n"


def test_a_wide_route_elsewhere_leaves_the_subnet_free() -> None:
    assert not is_taken(NETWORK.subnet, ROUTES, "ingot1")


def test_a_subnet_with_neighbours_or_a_route_as_narrow_is_taken() -> None:
    assert is_taken(NETWORK.subnet, route("host0", "004ED50A", "00000000", "00FFFFFF"), "ingot1")
    assert is_taken(NETWORK.subnet, route("eth1", "0000D50A", "00000000", "0000FFFF"), "ingot1")
    assert is_taken(NETWORK.subnet, route("tun0", "804ED50A", "010200C0", "80FFFFFF"), "ingot1")


def test_its_own_bridge_does_not_take_a_subnet() -> None:
    assert not is_taken(NETWORK.subnet, route("ingot1", "004ED50A", "00000000", "00FFFFFF"), "ingot1")
