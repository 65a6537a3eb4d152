"""The network's description: whose it is, where hosts are, who answers their questions."""

from ingot.sandbox.network import Network, from_alias, nameservers, rules

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
